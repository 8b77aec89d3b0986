-- Text deltas are joined in segments of the archive: docs/protocol.md 7.14.

-- From this time on. An edge of the version before cannot read such a segment.
alter table archive_progress add column joins_at timestamptz not null default now() + interval '1 day';
