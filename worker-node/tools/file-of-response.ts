import { FileName, MediaType } from "../../shared/contracts/artifact.ts";
import { percentDecoded } from "../../shared/percent-decoded.ts";
import type { HttpTool } from "../../shared/contracts/definition/index.ts";

/** The name and type of a response that is stored as a file: as the server says, else by the URL, else by the tool. */
export function fileOf(
  tool: Pick<HttpTool, "name">,
  url: URL,
  headers: Readonly<Record<string, string>>,
): { name: string; content_type: string } {
  const inDisposition = /;\s*filename\s*=\s*"?([^";]+)"?/i.exec(headers["content-disposition"] ?? "")?.[1];
  const names = [inDisposition?.trim(), percentDecoded(url.pathname.split("/").at(-1) ?? "")];
  const name = names.find((each) => FileName.safeParse(each).success) ?? tool.name;
  const type = MediaType.safeParse(headers["content-type"]);
  return { name, content_type: type.success ? type.data : "application/octet-stream" };
}
