import httpx, json

BASE = "https://synapse.internal:8123"
TOKEN = "sk-syn-your-token"

async def run_orchestration(orch_id: str, message: str, tenant_id: str) -> str:
    async with httpx.AsyncClient() as client:
        r = await client.post(
            f"{BASE}/api/v2/orchestrations/{orch_id}/run",
            headers={"Authorization": f"Bearer {TOKEN}"},
            json={"message": message, "tenant_id": tenant_id},
        )
        r.raise_for_status()
        return r.json()["run_id"]

async def stream_events(run_id: str):
    async with httpx.AsyncClient() as client:
        async with client.stream(
            "GET",
            f"{BASE}/api/v2/orchestrations/runs/{run_id}/stream",
            headers={"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"},
            timeout=None,
        ) as r:
            async for line in r.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                    yield event
                    if event.get("type") == "done":
                        break
