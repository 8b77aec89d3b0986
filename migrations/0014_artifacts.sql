-- Files: those that clients upload, and those that the tools of a run write. Their bytes are in the object store.
create table uploads (
  upload_id     text primary key,
  tenant_id     text not null,
  name          text not null,
  content_type  text not null,
  bytes         bigint not null,
  created_at    timestamptz not null default now(),
  -- Null: the bytes are on their way, and nobody sees the upload.
  stored_at     timestamptz,
  sha256        text,
  -- When a run last named it. Null: none has.
  named_at      timestamptz,
  -- Set first when it is deleted: nobody sees it any more. The row is deleted after the object.
  deleted_at    timestamptz,
  -- The reconciler looks at it after this time: it deletes an upload that no run uses.
  kept_until    timestamptz not null default now() + interval '24 hours',
  constraint uploads_stored_with_digest check ((stored_at is null) = (sha256 is null))
);

create index uploads_by_expiry on uploads (kept_until);
create index uploads_unnamed on uploads (tenant_id) where named_at is null and deleted_at is null;

-- The runs that use an upload. A row is written before its run is accepted, so the run may not exist.
create table upload_uses (
  run_id     text not null,
  upload_id  text not null,
  primary key (run_id, upload_id)
);

create index upload_uses_by_upload on upload_uses (upload_id);

-- A row is written by the statement that commits the checkpoint of the call that wrote the file.
create table artifacts (
  run_id        text not null,
  -- The key in the object store.
  object_key    text not null,
  tenant_id     text not null,
  -- Of a file that later runs of this session may read too.
  session_id    text,
  name          text not null,
  content_type  text not null,
  bytes         bigint not null,
  sha256        text not null,
  seq           integer not null,
  step_path     text not null,
  visit         integer not null,
  attempt       integer not null,
  created_at    timestamptz not null default now(),
  primary key (run_id, object_key)
);

create index artifacts_of_session on artifacts (tenant_id, session_id, name) where session_id is not null;

-- The most bytes of one upload, and of one file that a tool writes.
alter table tenants add column max_artifact_bytes bigint not null default 209715200;
