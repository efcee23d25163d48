"""Index → transfer → SUV → MIP against a real S3 server on loopback, with transfers cut, damaged
and refused."""

import hashlib
import http.server
import os
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import petsuv
from radiogan_lib import config, data
from radiogan_lib.config import ConfigError
from radiogan_lib.data.dataset import load, prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "data_manifest"))
import build_public  # noqa: E402
import fetch_public  # noqa: E402

SHARED = Path(os.environ.get("RADIOGAN_SHARED", Path(__file__).parents[2] / "shared")) / "data"
LABELS = SHARED / "public_labels/Clinical-Metadata-FDG-PET_CT-Lesions.csv.gz"
BUCKET = "idc-open-data"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def server():
    """A real S3 server (moto) and a client that fills it."""
    moto_server = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    client.create_bucket(Bucket=BUCKET)
    yield url, client
    running.stop()


@pytest.fixture
def line(server):
    """A line to the server that can be told to spoil answers: `faults[key] = [kind, …]`, one kind
    per request."""
    faults: dict[str, list[str]] = {}
    asked: list[str] = []

    class Line(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            key = self.path.split("?")[0].rsplit("/", 1)[-1].replace(BUCKET, "")
            asked.append(key or "list")
            waiting = faults.get(key or "list", [])
            fault = waiting.pop(0) if waiting else ""
            with urllib.request.urlopen(server[0] + self.path) as answer:
                body = answer.read()
            announced = len(body)
            if fault == "short":  # consistent, but not the whole object
                body = body[:-100]
                announced = len(body)
            if fault == "flip":
                body = body[:50] + bytes([body[50] ^ 1]) + body[51:]
            self.send_response(500 if fault == "500" else 404 if fault == "404" else 200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(body[: announced // 2] if fault == "cut" else body)
            if fault == "cut":  # the connection goes away in mid-transfer
                self.close_connection = True

        def log_message(self, *_):
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Line)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}", faults, asked
    proxy.shutdown()
    proxy.server_close()


def upload(client, folder, prefix):
    """Put a series in the bucket; returns (files, bytes)."""
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    for file in files:
        client.put_object(
            Bucket=BUCKET, Key=f"{prefix}/{file.name}", Body=file.read_bytes(), ACL="public-read"
        )
    return len(files), sum(f.stat().st_size for f in files)


@pytest.fixture(scope="module")
def series(server, tmp_path_factory):
    """Four phantoms as DICOM series in the bucket, and the manifest rows that describe them."""
    import pydicom

    rows = []
    for i in range(4):
        folder = tmp_path_factory.mktemp("dicom") / f"s{i}"
        petsuv.write_phantom_series(
            data.read_suv(f"phantom:lung/{30010 + i}", 12.0), folder, seed=i
        )
        n, size = upload(server[1], folder, f"series-{i}")
        first = pydicom.dcmread(next(f for f in folder.rglob("*") if f.is_file()))
        rows.append(
            {
                "collection": "c",
                "patient_id": f"p{i}",
                "study_uid": "s",
                "series_uid": first.SeriesInstanceUID,
                "class": "ab"[i % 2],
                "split": "test" if i > 1 else "train",
                "instances": n,
                "megabytes": size / 1e6,
                "licence": "CC BY 4.0",
                "doi": "10.0/0",
                "s3_prefix": f"s3://{BUCKET}/series-{i}/",
            }
        )
    return pd.DataFrame(rows)


def test_from_bucket_to_dataset(series, server, tmp_path):
    out = tmp_path / "public"
    done = fetch_public.fetch(series, out, server[0], scheduler="threads")
    assert (done["fetched"], done["ready"], done["rejected"]) == (4, 0, 0)
    assert {f.suffix for f in out.rglob("*") if f.name != ".lock"} == {
        ".npz",
        ".csv",
    }  # no slice stays
    cfg = config.load("smoke", keep_ids=True)
    assert prepare(out / "cohort.csv", tmp_path / "set", cfg, "sync").prepared == 4
    mips = load(tmp_path / "set")
    assert (
        mips.exam_ids == [f"series-{i}" for i in range(4)]
        and list(mips.exams["licence"]) == ["CC BY 4.0"] * 4
    )
    for i in range(4):  # the same picture as from the exam itself, but for DICOM's 16 bits
        mip = data.coronal_mip(data.read_suv(f"phantom:lung/{30010 + i}", 12.0))
        expected = data.fit_to_canvas(np.clip(mip, 0, 30), cfg.canvas, cfg.field_of_view_mm)
        assert mips.suv[i] == pytest.approx(expected, abs=2e-3)


def test_nothing_is_fetched_twice(series, line, tmp_path):
    url, _, asked = line
    fetch_public.fetch(series.iloc[:2], tmp_path / "out", url, scheduler="sync")
    asked.clear()
    done = fetch_public.fetch(series, tmp_path / "out", url, scheduler="sync")
    assert (done["fetched"], done["ready"]) == (2, 2)
    assert asked.count("list") == 2 and len(asked) == 2 + series["instances"][2:].sum()
    assert len(pd.read_csv(tmp_path / "out/cohort.csv")) == 4


@pytest.mark.parametrize("fault", ["cut", "short", "flip", "500"])
def test_a_spoilt_transfer_is_detected_and_repaired(series, line, tmp_path, fault):
    url, faults, asked = line
    faults |= {"slice-0003.dcm": [fault], "slice-0007.dcm": [fault, fault]}
    done = fetch_public.fetch(series.iloc[:1], tmp_path / "out", url, scheduler="sync")
    assert (done["fetched"], done["rejected"]) == (1, 0)
    assert asked.count("slice-0003.dcm") == 2 and asked.count("slice-0007.dcm") == 3
    assert asked.count("slice-0004.dcm") == 1  # what came whole is not asked for again


def test_a_transfer_that_stays_damaged_is_said_and_tried_again_next_time(series, line, tmp_path):
    url, faults, _ = line
    faults["slice-0003.dcm"] = ["flip"] * fetch_public.TRIES
    done = fetch_public.fetch(series.iloc[:2], tmp_path / "out", url, scheduler="sync")
    assert (done["fetched"], done["rejected"]) == (1, 1)
    reject = pd.read_csv(tmp_path / "out/rejects.csv").iloc[0]
    assert (
        "1 of" in reject.reason
        and "did not arrive whole" in reject.reason
        and "again" in reject.remedy
    )
    assert (
        fetch_public.fetch(series.iloc[:2], tmp_path / "out", url, scheduler="sync")["fetched"] == 1
    )


@pytest.mark.parametrize(
    "change, match",
    [
        ({"instances": 5}, "files of .* where the manifest says 5"),
        ({"megabytes": 0.5}, "manifest says .* of 500000"),
        ({"series_uid": "1.2.3"}, "another series"),
        ({"s3_prefix": f"s3://{BUCKET}/nothing/"}, "lists 0 files"),
        ({"s3_prefix": "s3://no-such-bucket/x/"}, "answered 404"),
        ({"s3_prefix": "http://x/y"}, "s3://bucket/prefix"),
    ],
)
def test_what_is_not_what_the_manifest_says_is_refused(series, server, tmp_path, change, match):
    exams = series.iloc[:2].reset_index(drop=True)
    for column, value in change.items():
        exams.loc[0, column] = value
    done = fetch_public.fetch(exams, tmp_path / "out", server[0], scheduler="sync")
    assert (done["fetched"], done["rejected"]) == (1, 1)
    assert pd.read_csv(tmp_path / "out/rejects.csv").reason.str.contains(match).all()


def test_no_server_is_one_sentence(series, tmp_path):
    done = fetch_public.fetch(
        series.iloc[:1], tmp_path / "out", "http://127.0.0.1:9", scheduler="sync"
    )
    assert (
        done["rejected"] == 1
        and "cannot be reached" in pd.read_csv(tmp_path / "out/rejects.csv").reason[0]
    )


def test_a_listing_of_many_pages(server, tmp_path):
    for i in range(7):
        server[1].put_object(Bucket=BUCKET, Key=f"pages/{i}", Body=b"x" * i)
    client, pages = fetch_public.client(server[0]), []
    client.meta.events.register("before-call.s3.ListObjectsV2", lambda **_: pages.append(1))
    found = fetch_public.listing(client, BUCKET, "pages/", page=3)
    assert {k: v[0] for k, v in found.items()} == {f"pages/{i}": i for i in range(7)}
    assert len(pages) == 3
    assert found["pages/2"][1] == hashlib.md5(b"xx").hexdigest()


def test_the_real_exam_from_index_to_mip(server, line, tmp_path, capsys):
    """STS_001: same UID, number of files and bytes as in the index; one file is cut on the way."""
    if not (SHARED / "real_exam_dicom").exists():
        pytest.skip("the real exam is not here (RADIOGAN_SHARED)")
    url, faults, asked = line
    row = fetch_public.read_manifest().query("patient_id == 'STS_001'")
    prefix = row["s3_prefix"].iloc[0].split("/")[3]
    assert upload(server[1], SHARED / "real_exam_dicom", prefix) == (267, 9_682_406)
    assert (row["instances"].iloc[0], round(row["megabytes"].iloc[0] * 1e6)) == (267, 9_682_406)
    faults |= {"1-100.dcm": ["cut"], "1-200.dcm": ["flip"]}
    done = fetch_public.main(
        [
            "--classes",
            "sarcoma",
            "--collections",
            "soft_tissue_sarcoma",
            "--per-class",
            "2",
            "--workers",
            "1",
            "--endpoint",
            url,
            "--out",
            str(tmp_path / "out"),
        ]
    )  # the other one is not there
    said = capsys.readouterr().out
    assert (
        done == 0 and "1 exams fetched now (0.01 GB), 0 were ready before, 1 were rejected" in said
    )
    assert (
        asked.count("1-100.dcm") == asked.count("1-200.dcm") == 2 and asked.count("1-101.dcm") == 1
    )
    assert pd.read_csv(tmp_path / "out/cohort.csv")["patient_id"].tolist() == ["STS_001"]
    with np.load(tmp_path / f"out/{prefix}.mip.npz", allow_pickle=False) as stored:
        mip = stored["mip"]
    assert mip.max() == pytest.approx(66.5215, abs=1e-3)
    assert np.array_equal(mip, data.coronal_mip(data.read_suv(SHARED / "real_exam_dicom")))
    assert (
        sum(f.stat().st_size for f in (tmp_path / "out").rglob("*") if f.is_file()) < 1.2e6
    )  # × 826 is under 1 GB


class TestManifest:
    def test_it_is_what_the_command_builds(self, tmp_path):
        pytest.importorskip("idc_index_data")
        if not LABELS.exists():
            pytest.skip("TCIA's clinical table is not here (RADIOGAN_SHARED)")
        out = tmp_path / "p.csv"
        assert build_public.main(["manifest", "--labels", str(LABELS), "--out", str(out)]) == 0
        assert out.read_bytes() == fetch_public.PUBLIC.read_bytes()

    def test_the_data_cards_counts(self, capsys):
        if not LABELS.exists():
            pytest.skip("TCIA's clinical table is not here (RADIOGAN_SHARED)")
        table = build_public.counts(fetch_public.read_manifest(), fetch_public.read_labels(LABELS))
        assert table["one_scanner_studies"].to_dict() == {
            "normal": 513,
            "head_neck": 0,
            "oesophagus": 0,
            "lung": 168,
            "lymphoma": 145,
            "cervix": 0,
            "melanoma": 188,
            "sarcoma": 0,
        }
        assert table.loc[["normal", "lung", "lymphoma"], "one_scanner_patients"].tolist() == [
            441,
            168,
            144,
        ]
        assert table.loc[["normal", "lung", "lymphoma"], "gigabytes"].tolist() == [
            57.98,
            16.67,
            14.91,
        ]
        assert build_public.main(["counts", "--labels", str(LABELS)]) == 0
        said = capsys.readouterr().out
        assert all(n in said for n in ("513", "168", "145", "422"))

    def test_patients_are_on_one_side_and_classes_keep_their_share(self):
        manifest = fetch_public.read_manifest()
        assert (manifest.groupby(["collection", "patient_id"])["split"].nunique() == 1).all()
        if not LABELS.exists():
            pytest.skip("TCIA's clinical table is not here (RADIOGAN_SHARED)")
        one = fetch_public.labelled(manifest, fetch_public.read_labels(LABELS)).query(
            "class_rule == 'diagnosis'"
        )
        classes = one.groupby("patient_id")["class"].nunique()
        assert (classes > 1).sum() == 30
        share = one[one["split"] == "test"]["class"].value_counts() / one["class"].value_counts()
        assert share.between(0.18, 0.225).all()

    def test_labels_are_not_shipped_and_rows_are_complete(self):
        manifest = fetch_public.read_manifest()
        assert (manifest.query("class_rule == 'diagnosis'")["class"] == "").all()
        assert (manifest.query("class_rule == 'collection'")["class"] != "").all()
        assert manifest["series_uid"].is_unique and manifest["s3_prefix"].is_unique
        assert (manifest[["licence", "doi", "patient_id", "study_uid"]] != "").all(axis=None)
        assert (
            manifest[manifest["choice"] == 1]["study_uid"].is_unique
            and fetch_public.PUBLIC.stat().st_size < 900_000
        )

    @pytest.mark.parametrize(
        "name, kept",
        [
            ("PET AC 2D", True),
            ("PET corr.", True),
            ("WB MAC P690", True),
            ("WBAC.img: Body-ramla3d-3dac-s", True),
            ("PET WB Corrected", True),
            ("TORSO_3D_AC", True),
            ("5AFOV Chest U L Atten", True),
            (None, True),
            ("SUV-PET AC", True),
            ("XXPETACXX", True),
            ("PET WB-uncorrected", False),
            ("PET NAC 2D", False),
            ("WBNAC: Body-noattn", False),
            ("No AC Recon", False),
            ("wb_nac.img: 3D-RAMLA", False),
            ("WB_3D_NON-AC", False),
            ("MIP", False),
            ("COR PET", False),
            ("NC", False),
            ("Coronal WB_2D", False),
            ("10 binGated OSEM", False),
            ("Transaxial WB transmission scan", False),
        ],
    )
    def test_names_of_series(self, name, kept):
        row = {
            "collection_id": "tcga_luad",
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128",
            "instanceCount": 300,
            "SeriesDescription": name,
        }
        assert (
            len(build_public.usable(pd.DataFrame([row]).astype({"SeriesDescription": object})))
            == kept
        )

    @pytest.mark.parametrize(
        "change",
        [
            {"collection_id": "psma_pet_ct_lesions"},
            {"instanceCount": 149},
            {"instanceCount": 701},
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        ],
    )
    def test_other_series_are_left_out(self, change):
        row = {
            "collection_id": "tcga_luad",
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128",
            "instanceCount": 300,
            "SeriesDescription": "PET AC",
        } | change
        assert build_public.usable(pd.DataFrame([row])).empty


class TestChoice:
    @pytest.fixture
    def labels(self, tmp_path):
        """A clinical table as TCIA's, for the manifest's own studies, with invented diagnoses."""
        studies = fetch_public.read_manifest().query("class_rule == 'diagnosis'")["study_uid"]
        diagnoses = list(fetch_public.DIAGNOSES)
        rows = [(s, diagnoses[i % 4]) for i, s in enumerate(studies) for _ in range(3)]
        path = tmp_path / "labels.csv"
        pd.DataFrame(rows, columns=["Study UID", "diagnosis"]).to_csv(path, index=False)
        return path

    def test_a_few_of_each_class(self, labels):
        exams = fetch_public.choose(
            labels, ["lymphoma", "normal"], [fetch_public.ONE_SCANNER], per_class=10
        )
        assert exams.groupby(["class", "split"], sort=False).size().to_dict() == {
            ("lymphoma", "train"): 8,
            ("lymphoma", "test"): 2,
            ("normal", "train"): 8,
            ("normal", "test"): 2,
        }

    def test_collections_that_need_no_table(self):
        exams = fetch_public.choose(None, ["sarcoma", "lung"], ["soft_tissue_sarcoma", "tcga_luad"])
        assert exams["class"].value_counts().to_dict() == {"sarcoma": 50, "lung": 24}

    @pytest.mark.parametrize(
        "arguments, match",
        [
            ((None, ["lung"], [fetch_public.ONE_SCANNER]), "fetch https://.*--labels"),
            ((None, ["lung"], ["lung_pet"]), "no collection 'lung_pet'"),
            ((None, ["oesophagus"], ["tcga_luad"]), "no public exam of class oesophagus"),
            (
                ("nowhere.csv", ["lung"], [fetch_public.ONE_SCANNER]),
                "nowhere.csv is not TCIA's clinical table",
            ),
        ],
    )
    def test_faults_are_named(self, arguments, match):
        with pytest.raises(ConfigError, match=match):
            fetch_public.choose(*arguments)

    def test_a_table_of_another_release(self, labels):
        table = pd.read_csv(labels)
        table.iloc[30:].to_csv(labels, index=False)
        with pytest.raises(ConfigError, match="no diagnosis for 10 of the 1014"):
            fetch_public.choose(labels, ["lung"], [fetch_public.ONE_SCANNER])

    def test_command_line(self, labels, capsys):
        assert (
            fetch_public.main(
                [
                    "--labels",
                    str(labels),
                    "--classes",
                    "lung",
                    "--per-class",
                    "5",
                    "--list",
                ]
            )
            == 0
        )
        assert "5 exams" in capsys.readouterr().out
        assert fetch_public.main(["--list"]) == 1
        assert "--labels" in capsys.readouterr().err
