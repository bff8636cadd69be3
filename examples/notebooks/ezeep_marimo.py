"""A marimo notebook: async and blocking cells.

pip install 'ezeep_async[cli]' marimo
ezeep login --client-id CLIENT_ID --token-file login.json
marimo edit ezeep_marimo.py                         # or: marimo export html ezeep_marimo.py -o groups.html

Environment: EZEEP_CLIENT_ID, EZEEP_TOKEN_FILE (login.json).
"""

import marimo


app = marimo.App()


@app.cell
def _():
    import ezeep_async as ezeep

    return (ezeep,)


@app.cell
async def _(ezeep):
    async with ezeep.EzeepSession.from_env() as session:
        groups = await session.groups.list().collect()
    print(len(groups), "groups")
    return (groups,)


@app.cell
def _(ezeep, groups):
    with ezeep.run_sync(ezeep.EzeepSession.from_env()) as blocking:
        members = {group.name: blocking.groups.members(group.id).count() for group in groups}
    print(sum(members.values()), "memberships")
    return (members,)


if __name__ == "__main__":
    app.run()
