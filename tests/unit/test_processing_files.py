"""What users have in files: what is read is what was written, and anything else is one clear error."""

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
from edge_runtime.processing import files
from edge_runtime.processing.files import read_image, read_wav
from edge_runtime.processing.steps import Kind, Labels, Processing


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
    for reader in (read_image, files.read_text, files.read_series, files.read_bytes):
        with pytest.raises(InputError, match="missing cannot be read: No such file"):
            reader(path)


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


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_a_picture_that_is_written_comes_back(tmp_path: Path, suffix: str) -> None:
    """In colour, red first; a grey one as three equal channels."""
    colour = np.full((4, 6, 3), (250, 120, 10), np.uint8)
    files.write_image(tmp_path / f"a{suffix}", colour)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - colour).max() <= 12  # WebP is not exact
    files.write_image(tmp_path / f"b{suffix}", colour[..., 0])
    assert read_image(tmp_path / f"b{suffix}").shape == (4, 6, 3)


def test_a_picture_of_no_kind_is_not_written(tmp_path: Path) -> None:
    """The suffix says how; one that says nothing is an error."""
    with pytest.raises(InputError, match="no kind of picture"):
        files.write_image(tmp_path / "a.what", np.zeros((2, 2), np.uint8))


def test_a_sound_that_is_written_comes_back(tmp_path: Path) -> None:
    """To within a step of 16 bits; what is louder than can be is clipped."""
    files.write_wav(tmp_path / "a.wav", np.array([0.0, 0.5, -0.5, 3.0, np.nan], np.float32), 8000)
    assert read_wav(tmp_path / "a.wav", 8000) == pytest.approx([0.0, 0.5, -0.5, 1.0, 0.0], abs=1e-4)
    assert len(read_wav(tmp_path / "a.wav", None)) == 5


def test_a_series_is_lines_of_numbers(tmp_path: Path) -> None:
    """With or without a line of names."""
    for text in ("1,2\n3,4.5\n", "x, y\n1,2\n3,4.5"):
        (tmp_path / "a.csv").write_text(text)
        found = files.read_series(tmp_path / "a.csv")
        assert (found.dtype, found.tolist()) == (np.dtype(np.float32), [[1.0, 2.0], [3.0, 4.5]])


@pytest.mark.parametrize("text", ["x,y\nz,1", "1,2\n3", "1;2\n3;x"])
def test_what_is_no_table_of_numbers_is_refused(tmp_path: Path, text: str) -> None:
    """Words among the numbers, and lines of different lengths."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=r"a\.csv is no table of numbers"):
        files.read_series(tmp_path / "a.csv")


def test_a_text_is_read_without_its_last_line_end(tmp_path: Path) -> None:
    """And only as UTF-8."""
    (tmp_path / "a.txt").write_bytes("zwölf\n".encode())
    assert files.read_text(tmp_path / "a.txt") == "zwölf"
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        files.read_text(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("kind", "file"), [("image", "a.wav"), ("audio", "a.png"), ("text", "a.csv"), ("series", "a.txt"), ("noise", "a.png")]
)
def test_a_file_of_another_kind_is_told(tmp_path: Path, kind: Kind, file: str) -> None:
    """By its suffix, before it is read: the message says what the model takes."""
    with pytest.raises(InputError, match=f"{file} does not fit: the model takes"):
        files.read(tmp_path / file, Processing(kind, "x", (), Labels("y")))


def test_any_file_is_bytes(tmp_path: Path) -> None:
    """A model that takes bytes takes a picture's file as they are."""
    (tmp_path / "a.png").write_bytes(b"PNG?")
    assert files.read(tmp_path / "a.png", Processing("bytes", "x", (), Labels("y"))) == b"PNG?"
