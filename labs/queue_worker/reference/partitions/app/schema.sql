-- Ids and keys are bytes: Postgres' text has no U+0000, JSON's strings do.
CREATE TABLE IF NOT EXISTS deliverable (
  id        bytea PRIMARY KEY,
  key       bytea NOT NULL,
  -- 'queued', 'running', 'doomed' (its dead letter is not written yet), 'succeeded' or 'dead'
  state     text NOT NULL DEFAULT 'queued',
  attempts  integer NOT NULL DEFAULT 0,
  error     text,
  -- Grows with each permission to deliver. Whoever shows an older number has lost the job.
  fence     bigint NOT NULL DEFAULT 0,
  -- Nobody gets permission before: the one who has it may be at work, or the next attempt is not due.
  closed_until timestamptz NOT NULL DEFAULT 'epoch'
);
