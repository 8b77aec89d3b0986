import { artifactName, artifactUrl } from "../../shared/contracts/artifact.ts";
import type { Artifact } from "../../shared/contracts/artifact.ts";
import type { ArtifactRow } from "../../shared/store/files/artifacts.ts";

/** A file that a tool of a run has written, as clients see it. `name` opens it below `…/artifacts/`; tools and templates know its `file_name`. */
export function fileView(row: ArtifactRow): Artifact {
  const { object_key, name: file_name, content_type, bytes, sha256, scope, step_path, created_at } = row;
  return {
    name: artifactName(object_key),
    size: bytes,
    content_type,
    url: artifactUrl(object_key),
    file_name,
    sha256,
    scope,
    step_path,
    created_at,
  };
}
