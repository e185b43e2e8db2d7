"""`--frontend-check`: the user's own features decide, and where they part is told."""

import frontend_originals as originals
import numpy as np
import pytest
import soundfile
from command_line import invoke
from saved_graph import node, saved

from earmark.errors import SourceError
from earmark.export.frontends.check import check_features
from earmark.export.sources.onnx.frontends import open_frontend

RATE = 16000


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, originals.sound_of(RATE, 1.0), RATE, subtype="FLOAT")
    return path


def checked(tmp_path, clip, ours, theirs):
    """What is said of features by `theirs` where `ours` is described; both a preset with fields."""
    sound = originals.sound_of(RATE, 1.0)
    made = theirs if isinstance(theirs, np.ndarray) else open_frontend(theirs[0], theirs[1:]).rows(sound)
    np.save(tmp_path / "features.npy", made)
    return check_features(open_frontend(ours[0], ours[1:]), clip, tmp_path / "features.npy")


TORCHAUDIO = "torchaudio-melspectrogram"


def test_features_that_agree(tmp_path, clip):
    said = checked(
        tmp_path, clip, [TORCHAUDIO], originals.torchaudio_melspectrogram(originals.sound_of(RATE, 1.0))
    )
    assert "differ by at most" in said
    # Without the axes of 1 that a pipeline adds last.
    bare = open_frontend("kaldi-fbank").rows(originals.sound_of(RATE, 1.0))[0]
    assert "differ by at most" in checked(tmp_path, clip, ["kaldi-fbank"], bare)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (["stft.window=hamming"], "part at the step stft: with stft.window = 'hamming' they agree"),
        (["stft.centring=zeros"], "part at the step stft: with stft.centring = 'zeros' they agree"),
        (["mel.norm=slaney"], "part at the step mel: with mel.norm = 'slaney' they agree"),
        (["mel.scale=slaney"], "part at the step mel: with mel.scale = 'slaney' they agree"),
        (["mel.low_hz=50"], "part at the step mel: with mel.low_hz = 50.0 they agree"),
        (["log.kind=ln"], "part at the step log: with log.kind = 'ln' they agree"),
        (["log.reference=max"], "part at the step log: with log.reference = 'max' they agree"),
        (["output.layout=BTF"], "part at the step output: with output.layout = 'BTF' they agree"),
        (["scale=32768"], "part at the step waveform: with scale = 32768.0 they agree"),
        (["normalise.mean=-20", "normalise.deviation=15"], "part at the step log: yours are 0.06667 times"),
        (["mel.bins=64"], r"are \[1, 64, 81\], the front end's \[1, 128, 81\].*the step mel"),
        (["stft.hop=160"], r"\[1, 128, 101\].*number of frames, at the step stft"),
        (
            ["mel.high_hz=5000"],
            "part at the step mel: the difference depends on the bin alone|step stft or bef",
        ),
    ],
)
def test_where_features_part(tmp_path, clip, theirs, said):
    with pytest.raises(
        SourceError, match=f"features.npy: your features of clip.wav .*{said}.*nothing was wr"
    ):
        checked(tmp_path, clip, [TORCHAUDIO], [TORCHAUDIO, *theirs])


def test_features_of_an_earlier_step(tmp_path, clip):
    given = ["normalise.mean=-20", "normalise.deviation=15"]
    with pytest.raises(
        SourceError, match="part at the step normalise: yours are the front end's after the step log"
    ):
        checked(tmp_path, clip, [TORCHAUDIO, *given], [TORCHAUDIO])


def test_what_is_no_array_is_refused(tmp_path, clip):
    (tmp_path / "features.npy").write_bytes(b"not an array")
    with pytest.raises(SourceError, match=r"is no \.npy file"):
        check_features(open_frontend("whisper"), clip, tmp_path / "features.npy")
    np.save(tmp_path / "features.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"is no \.npy file"):
        check_features(open_frontend("whisper"), clip, tmp_path / "features.npy")
    (tmp_path / "clip.wav").write_bytes(b"no sound")
    np.save(tmp_path / "features.npy", np.zeros(3))
    with pytest.raises(SourceError, match=r"clip\.wav"):
        check_features(open_frontend("whisper"), clip, tmp_path / "features.npy")


def test_the_command(tmp_path, clip):
    weight = (np.random.default_rng(0).standard_normal((80, 3)) / 80).astype(np.float32)
    nodes = [node("ReduceMean", "fbank", "m", axes=[1], keepdims=0), node("MatMul", "m w", "y")]
    shapes = {"fbank": ["batch", "T", 80]}, {"y": ["batch", 3]}
    net = saved(tmp_path / "net.onnx", nodes, {"w": weight}, *shapes, opset=13)
    np.save(tmp_path / "f.npy", open_frontend("kaldi-fbank").rows(originals.sound_of(RATE, 1.0)))
    told = ["export", str(net), "-o", str(tmp_path / "b"), "--labels", "a,b,c"]
    front = ["--frontend", "kaldi-fbank", "--window", "0.5"]
    check = ["--frontend-check", str(clip), str(tmp_path / "f.npy")]
    words = (*told, "--sample-rate", "16000", "--window", "1")
    invoke(*words, code=1, says=("'fbank' [batch, T, 80] is no waveform", "--frontend"))
    invoke(*told, *check, code=2, says="belong to --frontend")
    words = (*told, *front, *check, "--frontend-set", "stft.window=hann")
    invoke(*words, code=1, says="with stft.window = 'povey' they agree")
    assert not (tmp_path / "b").exists()
    done = invoke(*told, *front, *check, code=0)
    assert "differ by at most" in done.output
    assert "window   0.5 s (8000 samples at 16000 Hz)" in done.output
