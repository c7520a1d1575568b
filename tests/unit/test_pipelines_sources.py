"""Sources: what is read is what was written, and anything else is one clear error."""

from __future__ import annotations

import wave
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from models.pipelines.sources import Segment, parse_rttm, read_image, read_rttm, read_wav, transcript

LINE = "SPEAKER sample 1 {} {} <NA> <NA> someone <NA> <NA>"


def write_wav(path: Path, samples: list[int], *, rate: int = 16_000, channels: int = 1, width: int = 2) -> Path:
    """A WAV file of these samples."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.array(samples, f"<i{width}").tobytes())
    return path


def test_samples_come_back_between_minus_one_and_one(tmp_path: Path) -> None:
    """The lowest sample is -1, the highest just under 1."""
    audio = read_wav(write_wav(tmp_path / "a.wav", [-32768, 0, 16384, 32767]), 16_000)
    assert audio.dtype == np.float32
    assert audio.tolist() == [-1.0, 0.0, 0.5, 32767 / 32768]


def test_a_file_without_samples_is_silence_of_no_length(tmp_path: Path) -> None:
    """Empty, not wrong."""
    assert read_wav(write_wav(tmp_path / "a.wav", []), 16_000).shape == (0,)


def test_a_wav_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Another rate, two channels, other sample widths: the message says what it is and what is needed."""
    path = tmp_path / "a.wav"
    with pytest.raises(InputError, match="1 channels of 16 bits at 8000 Hz; 1 channel of 16 bits at 16000 Hz is needed"):
        read_wav(write_wav(path, [1, 2], rate=8000), 16_000)
    with pytest.raises(InputError, match="2 channels"):
        read_wav(write_wav(path, [1, 2], channels=2), 16_000)
    with pytest.raises(InputError, match="32 bits"):
        read_wav(write_wav(path, [1, 2], width=4), 16_000)


def test_a_wav_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """Fewer samples than the header promises is a broken file, not a shorter one."""
    path = write_wav(tmp_path / "a.wav", list(range(100)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    with pytest.raises(InputError, match="cut short: 70 samples of the 100"):
        read_wav(path, 16_000)
    path.write_bytes(whole[:20])
    with pytest.raises(InputError, match="not a WAV file"):
        read_wav(path, 16_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 63), st.integers(0, 255))
def test_any_flipped_byte_gives_sound_or_the_one_error(tmp_path: Path, at: int, value: int) -> None:
    """However a header is damaged, nothing but InputError comes out."""
    data = bytearray(write_wav(tmp_path / "a.wav", list(range(10))).read_bytes())
    data[at % len(data)] = value
    (tmp_path / "b.wav").write_bytes(data)
    with suppress(InputError):
        assert read_wav(tmp_path / "b.wav", 16_000).dtype == np.float32


def test_files_that_are_not_there_are_input_errors(tmp_path: Path) -> None:
    """The path and the reason are in the message."""
    path = tmp_path / "missing"
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        read_wav(path, 16_000)
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        read_image(path)
    with pytest.raises(InputError, match="missing cannot be read: No such file"):
        read_rttm(path)


def test_rttm_is_read_sorted_and_other_lines_skipped() -> None:
    """SPEAKER lines in any order, comments, blank lines and speaker information."""
    text = "\n".join([";; who", "SPKR-INFO sample 1 <NA> <NA>", LINE.format("2.5", "1"), "", LINE.format("0", "0.25")])
    assert parse_rttm(text) == (Segment(0.0, 0.25), Segment(2.5, 3.5))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (LINE.format("-1", "2"), "cannot be"),
        (LINE.format("1", "0"), "cannot be"),
        (LINE.format("1", "-2"), "cannot be"),
        (LINE.format("nan", "2"), "cannot be"),
        (LINE.format("1", "inf"), "cannot be"),
        (LINE.format("one", "2"), "are not seconds"),
        ("SPEAKER sample 1 0.5 2", "5 fields"),
    ],
)
def test_a_bad_rttm_line_is_named(line: str, told: str) -> None:
    """The error gives the line's number and what is wrong with it."""
    with pytest.raises(InputError, match=f"RTTM line 2.*{told}"):
        parse_rttm(LINE.format("0", "1") + "\n" + line)


@given(st.text())
def test_any_text_is_segments_or_the_one_error(text: str) -> None:
    """The parser lets nothing else out."""
    with suppress(InputError):
        assert all(segment.end > segment.start >= 0 for segment in parse_rttm("SPEAKER " + text))


def test_a_picture_comes_back_red_first(tmp_path: Path) -> None:
    """Written blue first by OpenCV, read red first; a grey one gets three equal channels."""
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[..., 2] = 200  # red, as OpenCV writes it
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [200, 0, 0]
    cv2.imwrite(str(tmp_path / "b.png"), pixels[..., 2])
    assert read_image(tmp_path / "b.png").shape == (4, 5, 3)


def test_a_colour_profile_is_left_out_without_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A PNG whose profile libpng dislikes is read in silence, pixel for pixel."""
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    data = (tmp_path / "a.png").read_bytes()
    body = b"ICC Profile\0\0broken"
    head = 8 + 25  # the signature and the IHDR chunk
    chunk = len(body).to_bytes(4, "big") + b"iCCP" + body + b"\0\0\0\0"
    (tmp_path / "b.png").write_bytes(data[:head] + chunk + data[head:])
    assert (read_image(tmp_path / "b.png") == pixels[..., ::-1]).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\0\xffIHDR"])
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    """Empty, other and truncated files: one error that names the file."""
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png is not a picture"):
        read_image(tmp_path / "a.png")


def test_the_transcript_is_the_seven_whole_lines() -> None:
    """Typed by eye; the line that the picture's edge cuts through is not in it."""
    lines = transcript().splitlines()
    assert len(lines) == 7
    assert lines[0] == "Region-based segmentation"
    assert lines[-1] == ">>> markers = np.zeros_like(coins)"
