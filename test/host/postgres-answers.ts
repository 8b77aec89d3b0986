import postgres from "postgres";

/** @throws when the server at this URL does not execute a query */
export async function expectAnswer(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 2, fetch_types: false });
  try {
    await sql`select 1`;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
