-- From here on this version of {day} counts.
INSERT INTO rolled_days SELECT {day:Date}, {computed_at:DateTime64(6, 'UTC')}
