import gzip
import struct

import matplotlib.image
import numpy as np
import pytest

from plica.errors import ArgumentError, DataError
from plica.loaders.images import read_images

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 3, 5, 4), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def csv_text(images, labels=None):
    rows = images.reshape(len(images), -1)
    if labels is not None:
        rows = np.column_stack([labels, rows])
    return "\n".join(",".join(map(str, row)) for row in rows.tolist()) + "\n"


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    matplotlib.image.imsave(path, pixels, cmap="gray", vmin=0, vmax=255, format="png")


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "labels"),
    [("test_images", "test_labels"), ("x_test", "y_test"), ("X_test", "Y_test"), ("images", "labels"), ("X", "y")],
)
def test_npz_by_its_usual_names(tmp_path, images, labels):
    np.savez(tmp_path / "a.npz", **{images: GREY, labels: LABELS})
    data = read_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(data.images, GREY / 255)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.images.dtype == np.float64
    assert data.raw_range == (GREY.min(), GREY.max())
    assert "divided by 255" in data.notices[0]
    assert data.name == "a.npz"


def test_npz_split_and_limit(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=GREY, train_labels=LABELS, test_images=GREY[:2], test_labels=LABELS[:2])
    assert len(read_images(tmp_path / "a.npz")) == 2
    train = read_images(tmp_path / "a.npz", split="train", limit=4)
    assert len(train) == len(train.labels) == 4


def test_npy_without_labels_and_with_labels_given(tmp_path):
    np.save(tmp_path / "a.npy", GREY / 255)
    assert read_images(tmp_path / "a.npy").labels is None
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy", labels=LABELS.tolist()).labels, LABELS)
    (tmp_path / "labels.txt").write_text("\n".join(map(str, LABELS)))
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy", labels=tmp_path / "labels.txt").labels, LABELS)
    np.save(tmp_path / "one_hot.npy", np.eye(3)[LABELS])
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy", labels=tmp_path / "one_hot.npy").labels, LABELS)


@pytest.mark.parametrize("zipped", [False, True])
def test_csv_label_first(tmp_path, zipped):
    content = csv_text(GREY, LABELS).encode()
    path = tmp_path / ("a.csv.gz" if zipped else "a.csv")
    path.write_bytes(gzip.compress(content) if zipped else content)
    data = read_images(path, shape=(1, 5, 4))
    np.testing.assert_array_equal(data.images[:, 0], GREY / 255)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert any("first of 21 columns" in n for n in data.notices)
    assert any("reshaped" in n for n in data.notices)


def test_csv_header_names_the_label(tmp_path):
    (tmp_path / "a.csv").write_text("p0,label,p1\n0.5,3,0.25\n0.125,1,1\n")
    data = read_images(tmp_path / "a.csv")
    np.testing.assert_array_equal(data.images, [[0.5, 0.25], [0.125, 1]])
    np.testing.assert_array_equal(data.labels, [3, 1])
    assert data.notices == ()


def test_csv_without_labels_is_told_by_the_shape(tmp_path):
    (tmp_path / "a.csv").write_text(csv_text(GREY))
    data = read_images(tmp_path / "a.csv", shape=(20,))
    assert data.labels is None
    np.testing.assert_array_equal(data.images, GREY.reshape(6, 20) / 255)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_finds_the_labels_beside_it(tmp_path, zipped):
    end, pack = (".gz", gzip.compress) if zipped else ("", bytes)
    (tmp_path / f"t10k-images-idx3-ubyte{end}").write_bytes(pack(idx_bytes(GREY)))
    (tmp_path / f"t10k-labels-idx1-ubyte{end}").write_bytes(pack(idx_bytes(LABELS)))
    for path in (tmp_path / f"t10k-images-idx3-ubyte{end}", tmp_path):
        data = read_images(path, shape=(20,), limit=5)
        np.testing.assert_array_equal(data.images, GREY[:5].reshape(5, 20) / 255)
        np.testing.assert_array_equal(data.labels, LABELS[:5])


def test_png_folder_of_classes_takes_them_in_turn(tmp_path):
    for i, name in enumerate(["cat", "dog"]):
        for j in range(3):
            write_png(tmp_path / "set" / name / f"{j}.png", np.moveaxis(COLOUR[3 * i + j], 0, -1))
    data = read_images(tmp_path / "set", limit=4)
    np.testing.assert_array_equal(data.labels, [0, 1, 0, 1])
    np.testing.assert_array_equal(data.images, COLOUR[[0, 3, 1, 4]] / 255)
    assert any("cat = 0, dog = 1" in n for n in data.notices)


def test_png_flat_folder(tmp_path):
    for j in range(3):
        write_png(tmp_path / f"{j}.png", np.moveaxis(COLOUR[j], 0, -1))
    data = read_images(tmp_path, shape=(5, 4, 3))
    np.testing.assert_array_equal(data.images, np.moveaxis(COLOUR[:3], 1, -1) / 255)
    assert data.labels is None


# --- order of the axes, mean and std -------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["CHW", "HWC"])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_every_layout_gives_the_same_image(tmp_path, stored, flat, last):
    values = np.moveaxis(COLOUR, 1, -1) if stored == "HWC" else COLOUR
    np.savez(tmp_path / "a.npz", images=values.reshape(6, -1) if flat else values)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    shape = (5, 4, 3) if last else (3, 5, 4)
    data = read_images(tmp_path / "a.npz", layout=stored, mean=mean, std=std, shape=shape)
    expected = (COLOUR / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(data.images, np.moveaxis(expected, 1, -1) if last else expected)


def test_flat_network_gets_each_colour_normalised(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.moveaxis(COLOUR, 1, -1).reshape(6, -1))
    data = read_images(tmp_path / "a.npz", layout="HWC", mean=[0.4, 0.5, 0.6], shape=(60,))
    expected = COLOUR / 255 - np.reshape([0.4, 0.5, 0.6], (3, 1, 1))
    np.testing.assert_allclose(data.images, expected.reshape(6, 60))


def test_scale_is_taken_as_given(tmp_path):
    np.save(tmp_path / "a.npy", GREY.astype(np.int32) - 300)
    with pytest.raises(DataError, match="not 8-bit pixels"):
        read_images(tmp_path / "a.npy")
    data = read_images(tmp_path / "a.npy", scale=10, mean=0.5)
    np.testing.assert_allclose(data.images, (GREY - 300.0) / 10 - 0.5)
    assert data.notices == ()


def test_large_floats_are_kept_with_a_notice(tmp_path):
    np.save(tmp_path / "a.npy", GREY.astype(np.float32))
    data = read_images(tmp_path / "a.npy")
    assert data.images.max() == GREY.max()
    assert "not scaled" in data.notices[0]


def test_one_image_of_the_networks_shape(tmp_path):
    np.save(tmp_path / "a.npy", COLOUR[0])
    assert read_images(tmp_path / "a.npy", shape=(3, 5, 4)).images.shape == (1, 3, 5, 4)


# --- what is refused -----------------------------------------------------------------------------------------------


def refused(path, *words, error=DataError, **options):
    with pytest.raises(error) as caught:
        read_images(path, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message


def test_missing_and_empty(tmp_path):
    refused(tmp_path / "none.npz", "no file or folder", "none.npz")
    (tmp_path / "empty.csv").write_bytes(b"")
    refused(tmp_path / "empty.csv", "0 bytes")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "holds no PNG")
    (tmp_path / "a.bmp").write_bytes(b"BM123456")
    refused(tmp_path / "a.bmp", "format of 'a.bmp' is not known")


def test_npz_without_images(tmp_path):
    np.savez(tmp_path / "a.npz", weights=GREY, train_images=GREY)
    refused(tmp_path / "a.npz", "split = 'test'", "weights, train_images", "split=")


def test_pickles_are_never_opened(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    refused(tmp_path / "a.npz", "never unpickles")
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object))
    refused(tmp_path / "a.npy", "never unpickles")


def test_truncated_files(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY)
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "a.idx").write_bytes(idx_bytes(GREY))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(csv_text(GREY, LABELS).encode()))
    (tmp_path / "pngs").mkdir()
    write_png(tmp_path / "pngs" / "a.png", np.moveaxis(COLOUR[0], 0, -1))
    for name in ("a.npz", "a.npy", "a.idx", "a.csv.gz", "pngs/a.png"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-30])
        refused(path.parent if "png" in name else path, "truncated", name.split("/")[-1])
    (tmp_path / "b.idx").write_bytes(b"\0\0\x08\x03\0\0")
    refused(tmp_path / "b.idx", "b.idx")


def test_wrong_sizes(tmp_path):
    np.save(tmp_path / "a.npy", GREY)
    refused(tmp_path / "a.npy", "5 x 4 = 20 numbers", "(784,)", shape=(784,))
    np.save(tmp_path / "b.npy", np.array(3.0))
    refused(tmp_path / "b.npy", "shape ()")
    write_png(tmp_path / "pngs" / "a.png", np.moveaxis(COLOUR[0], 0, -1))
    write_png(tmp_path / "pngs" / "b.png", np.moveaxis(COLOUR[0], 0, -1)[:3])
    refused(tmp_path / "pngs", "b.png", "(3, 4, 4)")
    (tmp_path / "c.csv").write_text("1,2,3\n4,5\n")
    refused(tmp_path / "c.csv", "not a table of numbers")
    (tmp_path / "d.csv").write_text("label,p\n")
    refused(tmp_path / "d.csv", "no rows")
    (tmp_path / "e.csv").write_text("1\n2\n")
    refused(tmp_path / "e.csv", "column")


def test_not_finite(tmp_path):
    values = GREY / 255
    values[4, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    refused(tmp_path / "a.npy", "1 values", "image 4")
    np.save(tmp_path / "b.npy", values.astype(complex))
    refused(tmp_path / "b.npy", "complex128")


def test_labels_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=LABELS[:4])
    refused(tmp_path / "a.npz", "4 labels for 6 images")
    np.save(tmp_path / "b.npy", GREY)
    refused(tmp_path / "b.npy", "not class numbers", labels=[0.5] * 6)
    refused(tmp_path / "b.npy", "not class numbers", labels=[-1] * 6)
    refused(tmp_path / "b.npy", "no labels file", labels=tmp_path / "none.txt")


@pytest.mark.parametrize(
    "options", [{"scale": 0}, {"std": [1, 0, 1]}, {"layout": "NCHW"}, {"limit": 0}, {"mean": [0.1, 0.2]}]
)
def test_arguments_that_make_no_sense(tmp_path, options):
    np.save(tmp_path / "a.npy", COLOUR)
    refused(tmp_path / "a.npy", next(iter(options)), error=ArgumentError, **options)


# --- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_mnist_and_cifar(shared_data):
    mnist = read_images(shared_data / "mnist.npz", shape=(1, 784, 1), limit=100)
    table = read_images(shared_data / "eran" / "eran_mnist_test100.csv.gz", shape=(1, 784, 1))
    np.testing.assert_array_equal(mnist.images, table.images)
    np.testing.assert_array_equal(mnist.labels, table.labels)
    cifar = read_images(shared_data / "cifar10_subset.npz", limit=100)
    for shape in ((3, 32, 32), (32, 32, 3)):
        table = read_images(shared_data / "eran" / "eran_cifar10_test100.csv.gz", layout="HWC", shape=shape)
        moved = cifar.images if shape[0] == 3 else np.moveaxis(cifar.images, 1, -1)
        np.testing.assert_array_equal(moved, table.images)
        np.testing.assert_array_equal(cifar.labels, table.labels)
