"""Releases side by side: what a revision may do, and what an older binary does with a newer schema."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from storage.migrations import DatabaseTooNew, upgrade
from storage.migrations.expanding import breaks
from storage.migrations.schema import FIRST, VERSIONS

HEAD = 'revision = "0003"\ndown_revision = "0002"\n'


def _revision(folder: Path, body: str, *, head: str = HEAD) -> list[str]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "0003_x.py").write_text(
        f"{head}\ndef upgrade():\n{lines}\n\ndef downgrade():\n    op.drop_table('x')\n"
    )
    return breaks(folder / "0003_x.py")


def test_every_revision_after_the_first_adds_only() -> None:
    later = [script for script in sorted(VERSIONS.glob("[0-9]*.py")) if not script.name.startswith(FIRST)]
    assert {script.name: breaks(script) for script in later if breaks(script)} == {}


@pytest.mark.parametrize(
    "body",
    [
        "op.create_table('new', sa.Column('id', sa.Integer(), nullable=False))\n"
        "with op.batch_alter_table('new') as batch:\n    op.create_index('ix_new', 'new', ['id'], unique=True)",
        "with op.batch_alter_table('panic') as b:\n    b.add_column(sa.Column('note', sa.Text(), nullable=True))",
        "op.add_column('panic', sa.Column('n', sa.Integer(), server_default='0', nullable=False))",
        "op.create_index('ix_panic_note', 'panic', ['note'], unique=False)",
        "op.alter_column('panic', 'note', nullable=True)",
    ],
)
def test_what_adds_is_let_through(tmp_path: Path, body: str) -> None:
    assert _revision(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("op.drop_table('panic')", "drops a table"),
        ("with op.batch_alter_table('panic') as batch:\n    batch.drop_column('note')", "drops a column"),
        ("op.rename_table('panic', 'crash')", "renames a table"),
        ("op.alter_column('panic', 'note', nullable=False)", "stricter"),
        ("op.alter_column('panic', 'note', new_column_name='remark')", "renames a column"),
        ("op.alter_column('panic', 'note', type_=sa.Integer())", "type"),
        ("op.add_column('panic', sa.Column('n', sa.Integer(), nullable=False))", "server_default"),
        ("op.create_index('ix', 'panic', ['note'], unique=True)", "stricter"),
        ("op.create_unique_constraint('uq', 'panic', ['note'])", "stricter"),
        ("op.execute('ALTER TABLE panic DROP COLUMN note')", "SQL"),
    ],
)
def test_what_the_release_before_would_stumble_over_is_found(tmp_path: Path, body: str, why: str) -> None:
    (found,) = _revision(tmp_path, body)
    assert why in found


def test_what_goes_says_since_when_nobody_uses_it(tmp_path: Path) -> None:
    gone = "op.drop_table('panic')"
    assert _revision(tmp_path, gone, head=HEAD + 'CONTRACTS = "0002"\n') == []
    assert _revision(tmp_path, gone, head=HEAD + 'CONTRACTS = "0003"\n') == [
        "CONTRACTS = '0003' is no earlier revision"
    ]
    assert _revision(tmp_path, gone, head=HEAD + "CONTRACTS = True\n") != []


def test_an_older_binary_does_not_start_on_a_newer_schema(url: str) -> None:
    """What runs goes on (tests/replicas/test_cluster.py); what is started afresh must be of the newer release."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew):
        upgrade(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engine.dispose()
