-- Of a mail that is being sent: whether its worker has reported that it sends the end of the message (docs/protocol.md 5.28). Null: its
-- worker is of an earlier version, which does not report it.
alter table mails add column end_reported boolean;
