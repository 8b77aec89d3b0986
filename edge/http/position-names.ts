/**
 * Other spellings of the parameter `last_event_id`, in which clients that cannot set a header send their position: `lastEventId` is
 * event-source-polyfill's default, `lastEventID` that of the Mercure protocol. When the edge does not read a client's spelling, each
 * reconnect replays the whole run. The API's document leaves these spellings out, because generators of
 * clients turn all of them into one name.
 */
export const OTHER_POSITION_NAMES = ["lastEventId", "lastEventID", "last-event-id", "Last-Event-ID"] as const;
