-- References to the files that a user attached to a message, a JSON text; null: none. docs/protocol.md 5.14.
alter table chat_messages add column attachments text;
