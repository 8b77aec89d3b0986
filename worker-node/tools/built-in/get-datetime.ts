import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { ToolRejection } from "../../engine/step-errors.ts";

/** The built-in tool `get_datetime`. @throws ToolRejection for a time zone that does not exist */
export function getDatetime({ timezone }: JsonObject, now: Date): Json {
  const timeZone = typeof timezone === "string" && timezone !== "" ? timezone : "UTC";
  const parts = partsIn(timeZone, now);
  const date = `${parts["year"]}-${parts["month"]}-${parts["day"]}`;
  const time = `${parts["hour"]}:${parts["minute"]}:${parts["second"]}`;
  const offset = (parts["timeZoneName"] ?? "").replace("GMT", "") || "+00:00";
  return {
    iso: `${date}T${time}${offset}`,
    date,
    time,
    weekday: parts["weekday"] ?? "",
    timezone: timeZone,
    unix_seconds: Math.floor(now.getTime() / 1_000),
  };
}

function partsIn(timeZone: string, now: Date): { [type: string]: string } {
  try {
    const format = new Intl.DateTimeFormat("en-US", {
      timeZone,
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      weekday: "long",
      timeZoneName: "longOffset",
    });
    return Object.fromEntries(format.formatToParts(now).map(({ type, value }) => [type, value]));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ToolRejection(
      `there is no time zone ${JSON.stringify(timeZone)}: use an IANA name such as Europe/Berlin`,
      { cause },
    );
  }
}
