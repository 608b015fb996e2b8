-- Superseded versions, each an hour and when its computation began.
DELETE FROM {table:Identifier}
WHERE (hour, computed_at) IN {versions:Array(Tuple(DateTime('UTC'), DateTime64(6, 'UTC')))}
