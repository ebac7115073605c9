-- What a client's key stands for. Ended when status is set; until then, whoever works on it locks the row.
-- subject is the id of the payment or refund, committed before anybody is asked for money; it is also the key
-- that the provider is given, so however often the work is begun, the provider does it once.
CREATE TABLE IF NOT EXISTS keys (
  merchant_id text NOT NULL,
  name        text NOT NULL,
  fingerprint bytea NOT NULL,
  subject     uuid NOT NULL,
  status      integer,
  answer      text,
  PRIMARY KEY (merchant_id, name)
);

-- Payments that the provider took, and no others.
CREATE TABLE IF NOT EXISTS payments (
  id           uuid PRIMARY KEY,
  merchant_id  text NOT NULL,
  order_id     text NOT NULL,
  amount_cents bigint NOT NULL,
  currency     text NOT NULL,
  charge_id    text NOT NULL
);

-- A refund takes its share of the payment as soon as it is here; done: the provider has said so.
CREATE TABLE IF NOT EXISTS refunds (
  id           uuid PRIMARY KEY,
  payment_id   uuid NOT NULL REFERENCES payments,
  amount_cents bigint NOT NULL,
  done         boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS refunds_of_payment ON refunds (payment_id);

-- Events that have not been published, in order for each payment.
CREATE TABLE IF NOT EXISTS outbox (
  id         bigserial PRIMARY KEY,
  payment_id uuid NOT NULL,
  value      text NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_of_payment ON outbox (payment_id, id);
