-- Counters end with the table of a bundle in shadow; what was counted before has none: one byte, zero.
UPDATE device_window SET counters = CAST(counters || x'00' AS BLOB);
UPDATE device_total SET counters = CAST(counters || x'00' AS BLOB);
UPDATE model_hour SET counters = CAST(counters || x'00' AS BLOB);
