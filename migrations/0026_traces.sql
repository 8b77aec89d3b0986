-- The context in which a run was started, as a W3C `traceparent` (docs/protocol.md 5.22). Null: there is none.
alter table runs add column traceparent text;
