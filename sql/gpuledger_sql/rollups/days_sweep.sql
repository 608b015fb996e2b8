-- Superseded versions, each a day and when its computation began.
DELETE FROM {table:Identifier}
WHERE (day, computed_at) IN {versions:Array(Tuple(Date, DateTime64(6, 'UTC')))}
