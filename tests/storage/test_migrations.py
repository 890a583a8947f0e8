from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import SQLModel

import storage.migrations as migrations
from storage.database import make_engine
from storage.migrations import schema
from storage.migrations.comparison import OURS
from storage.rollups import DERIVED


def test_the_history_makes_exactly_the_tables_of_the_code(empty_url: str) -> None:
    """The drift test. After a change of the tables: `python -m storage.migrations rewrite-first` (or `revise`)."""
    assert migrations.upgrade(empty_url) == (None, migrations.head())
    assert migrations.check(empty_url) == []
    engine = make_engine(empty_url)
    kept = {"panic_derived", *DERIVED.tables}
    words = {n for n in sa.inspect(engine).get_table_names() if n.startswith("panic_words")}
    assert set(sa.inspect(engine).get_table_names()) == OURS | kept | words | {"alembic_version"}
    engine.dispose()


def test_every_table_of_the_code_is_ours() -> None:
    assert {t.name for t in SQLModel.metadata.sorted_tables} == OURS


def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    assert migrations.upgrade(empty_url) == (migrations.head(), migrations.head())
    assert migrations.current(empty_url) == migrations.head()


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("ALTER TABLE silence DROP COLUMN reason", "add_column silence reason"),
        ("DROP INDEX ix_report_state_id", "add_index ix_report_state_id"),
        ("ALTER TABLE host ADD COLUMN colour VARCHAR(10)", "remove_column host colour"),
        ("DROP TABLE step_result", "add_table step_result"),
    ],
)
def test_drift_is_found(empty_url: str, statement: str, told: str) -> None:
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    assert any(told in line for line in migrations.check(empty_url)), migrations.check(empty_url)


def test_a_changed_type_is_drift(tmp_path: Path, empty_url: str) -> None:
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE host ALTER COLUMN address TYPE integer USING NULL")
        else:
            connection.exec_driver_sql("ALTER TABLE host DROP COLUMN address")
            connection.exec_driver_sql("ALTER TABLE host ADD COLUMN address INTEGER")
    engine.dispose()
    assert any("modify_type" in line and "address" in line for line in migrations.check(empty_url))


def test_tables_of_others_in_the_same_database_are_left_alone(empty_url: str) -> None:
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE workflow_status (id VARCHAR(10) PRIMARY KEY)")
    engine.dispose()
    migrations.upgrade(empty_url)
    assert migrations.check(empty_url) == []


def test_a_database_of_a_newer_version_is_refused_and_not_touched(empty_url: str) -> None:
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(migrations.DatabaseTooNew, match=r"revision 9999.*knows up to"):
        migrations.upgrade(empty_url)
    assert migrations.current(empty_url) == "9999"
    assert migrations.check(empty_url) == [
        f"the database is at revision 9999, the code needs {migrations.head()}"
    ]


def test_tables_without_a_version_are_refused(empty_url: str) -> None:
    engine = make_engine(empty_url)
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    with pytest.raises(migrations.UnknownSchema, match="artefact"):
        migrations.upgrade(empty_url)


def test_asking_for_the_version_makes_no_file(tmp_path: Path) -> None:
    assert migrations.current(f"sqlite:///{tmp_path}/absent.db") is None
    assert not (tmp_path / "absent.db").exists()


def _upgrade_in_a_process(
    url: str, gate: multiprocessing.synchronize.Event, answers: multiprocessing.Queue
) -> None:  # type: ignore[type-arg]
    gate.wait(30)
    try:
        answers.put(migrations.upgrade(url))
    except Exception as error:  # noqa: BLE001 - told to the parent
        answers.put(repr(error))


def test_processes_that_start_together_upgrade_once(empty_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    gate, answers = spawn.Event(), spawn.Queue()
    starters = [
        spawn.Process(target=_upgrade_in_a_process, args=(empty_url, gate, answers)) for _ in range(3)
    ]
    for starter in starters:
        starter.start()
    gate.set()
    results = [answers.get(timeout=60) for _ in starters]
    for starter in starters:
        starter.join(30)
    head = migrations.head()
    assert sorted(results, key=str) == sorted([(None, head), (head, head), (head, head)], key=str)


def test_the_first_revision_can_be_made_anew(tmp_path: Path) -> None:
    made = migrations.rewrite_first(directory=tmp_path).read_text()
    assert [table for table in OURS if f"op.create_table('{table}'," not in made] == []
    assert "storage." not in made  # plain types: a revision means the same when ours change
    compile(made, "0001.py", "exec")


def test_the_next_revision_holds_only_what_is_new(tmp_path: Path) -> None:
    for revision in schema.VERSIONS.glob("*.py"):
        shutil.copy(revision, tmp_path)
    made = migrations.revise("nothing new", directory=tmp_path)
    assert made.name == f"{len(list(tmp_path.glob('0*.py'))):04d}_nothing_new.py"
    assert "op." not in made.read_text().split("def upgrade")[1]
    with pytest.raises(migrations.SchemaError, match="later revisions"):
        migrations.rewrite_first(directory=tmp_path)
