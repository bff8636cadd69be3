"""Streamlit: the groups of the organization, and printing. Streamlit runs this script in another thread after each click.

pip install 'ezeep_async[cli]' streamlit
ezeep login --client-id CLIENT_ID --token-file login.json
streamlit run --server.address 127.0.0.1 app.py

Environment: EZEEP_CLIENT_ID, EZEEP_TOKEN_FILE (login.json).

All visitors act with that login. Without the address, Streamlit listens on all networks of the host.
"""

from __future__ import annotations

import streamlit as st

from ezeep_async import BlockingSession, EzeepError, EzeepSession, is_retryable, run_sync


@st.cache_resource
def ezeep() -> BlockingSession:
    """One session for all threads and all visitors. It is closed when the server ends."""
    return run_sync(EzeepSession.from_env())


st.title("Printing")
try:
    groups = {group.name: group for group in ezeep().groups.list()}
    name = st.selectbox("Group", groups)
    st.write(f"{groups[name].num_members} members")
    if st.button("Join"):
        ezeep().users.add_to_groups(ezeep().accounts.me().id, groups[name].id)
        st.success(f"You are a member of {name}.")
    if st.button("Print a test page"):
        printer = ezeep().printers.list().first()
        if printer is None:
            st.warning("You have no printer.")
        else:
            ezeep().printing.print_file(b"A test page", printer, name="test.txt")
            st.success(f"Sent to {printer.name}.")
except EzeepError as error:
    st.error("ezeep is not available: try again later." if is_retryable(error) else str(error))
