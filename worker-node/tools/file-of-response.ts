import { FileName, mediaTypeIn } from "../../shared/contracts/artifact.ts";
import { dispositionName } from "../../shared/http/content-disposition.ts";
import { percentDecoded } from "../../shared/http/percent-decoded.ts";
import type { HttpTool } from "../../shared/contracts/definition/index.ts";

/** The name and type of a response that is stored as a file: as the server says, else by the URL, else by the tool. */
export function fileOf(
  tool: Pick<HttpTool, "name">,
  url: URL,
  headers: Readonly<Record<string, string>>,
): { name: string; content_type: string } {
  const inDisposition = dispositionName(headers["content-disposition"] ?? "");
  const names = [
    inDisposition && inUtf8(inDisposition),
    percentDecoded(url.pathname.split("/").at(-1) ?? ""),
  ];
  const name = names.find((each) => FileName.safeParse(each).success) ?? tool.name;
  return { name, content_type: mediaTypeIn(headers["content-type"] ?? "") ?? "application/octet-stream" };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Servers write names in UTF-8, and Node reads each byte of a header as a letter. */
function inUtf8(name: string): string {
  if (!/^[\0-\xff]*$/.test(name)) return name;
  try {
    return utf8.decode(Buffer.from(name, "latin1"));
  } catch {
    return name;
  }
}
