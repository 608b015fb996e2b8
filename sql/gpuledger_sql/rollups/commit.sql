-- From here on this version of {hour} counts. An hour whose raw rows have expired keeps its own.
INSERT INTO rolled_hours
SELECT
    {hour:DateTime('UTC')},
    {computed_at:DateTime64(6, 'UTC')},
    {rolled_at:DateTime64(6, 'UTC')}
