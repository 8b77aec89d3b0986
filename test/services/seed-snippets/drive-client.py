

import asyncio, sys


async def main():
    run_id = await run_orchestration(*sys.argv[1:4])
    print(json.dumps({"run_id": run_id}), flush=True)
    async for event in stream_events(run_id):
        print(json.dumps(event), flush=True)


asyncio.run(main())
