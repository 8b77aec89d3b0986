-- Two notes for a later try: docs/protocol.md 5.28, 7.8.

-- Of the recipients in `refused`, those for whom the mail server may take the mail later; a JSON text. Null: it refused all of them for good.
alter table mails add column deferred text;

-- Whether objects were left behind in the pages before `objects_after`: then another pass begins after the last page.
alter table tenants add column objects_left boolean not null default false;
