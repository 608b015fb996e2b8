-- One day of one view as version {computed_at}. The view computes it from its hours; where they
-- have gone it shows the version that counts, so that a day without hours can only copy itself.
INSERT INTO {table:Identifier}
SELECT day, {computed_at:DateTime64(6, 'UTC')} AS computed_at, * EXCEPT (day)
FROM {view:Identifier}
WHERE day = {day:Date}
