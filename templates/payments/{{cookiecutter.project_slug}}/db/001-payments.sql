-- What was paid. Keys, refunds and events have no table yet: how they are kept is the design.
CREATE TABLE payments (
  id             text   PRIMARY KEY,
  merchant_id    text   NOT NULL,
  order_id       text   NOT NULL,
  amount_cents   bigint NOT NULL CHECK (amount_cents > 0),
  currency       text   NOT NULL,
  status         text   NOT NULL DEFAULT 'succeeded',
  charge_id      text   NOT NULL UNIQUE,
  refunded_cents bigint NOT NULL DEFAULT 0 CHECK (refunded_cents BETWEEN 0 AND amount_cents)
);
