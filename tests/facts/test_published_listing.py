"""The listing of published weights says what their publishers say: top-1, size, test pixels, interpolation.

`TIMM` are rows of timm's results/results-imagenet.csv (name, top-1, millions of parameters, test pixels,
interpolation), and for its ra4 and MobileNetV4's weights, which that file lacks, of the table in its README and in the
weights' cards. RepVGG-A0 and A1, MobileOne and PP-HGNetV2, which it lacks too, have the accuracies of their authors'
READMEs and lists of models, at 224 px.
`STATISTICS` are the means of `default_cfgs` in timm/models/efficientnet.py and mobilenetv3.py where they are not
ImageNet's own. EfficientNet-Lite's are in tensorflow/tpu's efficientnet_lite_builder.py: MEAN_RGB 127, STDDEV_RGB 128.
"""

import pytest

from searchspace.cost import params
from searchspace.preprocessing import Preprocessing
from searchspace.zoo.published import PublishedWeights, listing

TIMM = """
efficientnet_b0.ra4_e3600_r224_in1k 79.364 5.29 256 bicubic
efficientnet_b0.ra_in1k 77.694 5.29 224 bicubic
efficientnet_b1.ft_in1k 78.800 7.79 256 bicubic
efficientnet_b1.ra4_e3600_r240_in1k 81.440 7.79 288 bicubic
efficientnet_b2.ra_in1k 80.610 9.11 288 bicubic
efficientnet_b3.ra2_in1k 82.242 12.23 320 bicubic
efficientnet_b4.ra2_in1k 83.414 19.34 384 bicubic
efficientnet_b5.sw_in12k_ft_in1k 85.892 30.39 448 bicubic
efficientnet_lite0.ra_in1k 75.480 4.65 224 bicubic
fbnetc_100.rmsp_in1k 75.130 5.57 224 bilinear
mnasnet_100.rmsp_in1k 74.650 4.38 224 bicubic
mnasnet_small.lamb_in1k 66.196 2.03 224 bicubic
mobilenetv1_100.ra4_e3600_r224_in1k 76.094 4.23 256 bicubic
mobilenetv1_125.ra4_e3600_r224_in1k 77.600 6.27 256 bicubic
mobilenetv2_050.lamb_in1k 65.950 1.97 224 bicubic
mobilenetv2_100.ra_in1k 72.976 3.50 224 bicubic
mobilenetv2_110d.ra_in1k 75.056 4.52 224 bicubic
mobilenetv2_120d.ra_in1k 77.302 5.83 224 bicubic
mobilenetv2_140.ra_in1k 76.520 6.11 224 bicubic
mobilenetv3_large_100.miil_in21k_ft_in1k 77.918 5.48 224 bilinear
mobilenetv3_large_100.ra4_e3600_r224_in1k 77.164 5.48 256 bicubic
mobilenetv3_large_100.ra_in1k 75.766 5.48 224 bicubic
mobilenetv3_small_050.lamb_in1k 57.910 1.59 224 bicubic
mobilenetv3_small_075.lamb_in1k 65.234 2.04 224 bicubic
mobilenetv3_small_100.lamb_in1k 67.656 2.54 224 bicubic
semnasnet_075.rmsp_in1k 72.992 2.91 224 bicubic
semnasnet_100.rmsp_in1k 75.450 3.89 224 bicubic
spnasnet_100.rmsp_in1k 74.086 4.42 224 bilinear
tf_efficientnet_b0.aa_in1k 76.834 5.29 224 bicubic
tf_efficientnet_b0.ap_in1k 77.090 5.29 224 bicubic
tf_efficientnet_b0.in1k 76.532 5.29 224 bicubic
tf_efficientnet_b0.ns_jft_in1k 78.670 5.29 224 bicubic
tf_efficientnet_b1.aa_in1k 78.830 7.79 240 bicubic
tf_efficientnet_b1.ap_in1k 79.280 7.79 240 bicubic
tf_efficientnet_b1.in1k 78.560 7.79 240 bicubic
tf_efficientnet_b1.ns_jft_in1k 81.394 7.79 240 bicubic
tf_efficientnet_b2.aa_in1k 80.084 9.11 260 bicubic
tf_efficientnet_b2.ap_in1k 80.308 9.11 260 bicubic
tf_efficientnet_b2.in1k 79.604 9.11 260 bicubic
tf_efficientnet_b2.ns_jft_in1k 82.378 9.11 260 bicubic
tf_efficientnet_b3.aa_in1k 81.644 12.23 300 bicubic
tf_efficientnet_b3.ap_in1k 81.826 12.23 300 bicubic
tf_efficientnet_b3.in1k 80.878 12.23 300 bicubic
tf_efficientnet_b3.ns_jft_in1k 84.056 12.23 300 bicubic
tf_efficientnet_b4.aa_in1k 83.018 19.34 380 bicubic
tf_efficientnet_b4.ap_in1k 83.250 19.34 380 bicubic
tf_efficientnet_b4.in1k 82.608 19.34 380 bicubic
tf_efficientnet_b4.ns_jft_in1k 85.162 19.34 380 bicubic
tf_efficientnet_b5.aa_in1k 83.688 30.39 456 bicubic
tf_efficientnet_b5.ap_in1k 84.258 30.39 456 bicubic
tf_efficientnet_b5.in1k 83.176 30.39 456 bicubic
tf_efficientnet_b5.ns_jft_in1k 86.088 30.39 456 bicubic
tf_efficientnet_b5.ra_in1k 83.810 30.39 456 bicubic
tf_efficientnet_b6.aa_in1k 84.116 43.04 528 bicubic
tf_efficientnet_b6.ap_in1k 84.786 43.04 528 bicubic
tf_efficientnet_b6.ns_jft_in1k 86.456 43.04 528 bicubic
tf_efficientnet_b7.aa_in1k 84.414 66.35 600 bicubic
tf_efficientnet_b7.ap_in1k 85.122 66.35 600 bicubic
tf_efficientnet_b7.ns_jft_in1k 86.840 66.35 600 bicubic
tf_efficientnet_b7.ra_in1k 84.932 66.35 600 bicubic
tf_efficientnet_lite0.in1k 74.830 4.65 224 bicubic
tf_efficientnet_lite1.in1k 76.644 5.42 240 bicubic
tf_efficientnet_lite2.in1k 77.464 6.09 260 bicubic
tf_efficientnet_lite3.in1k 79.808 8.20 300 bilinear
tf_efficientnet_lite4.in1k 81.532 13.01 380 bilinear
tf_mobilenetv3_large_075.in1k 73.432 3.99 224 bilinear
tf_mobilenetv3_large_100.in1k 75.516 5.48 224 bilinear
tf_mobilenetv3_small_075.in1k 65.728 2.04 224 bilinear
tf_mobilenetv3_small_100.in1k 67.918 2.54 224 bilinear
mobilenetv1_100h.ra4_e3600_r224_in1k 76.596 5.28 256 bicubic
tinynet_a.in1k 77.658 6.19 192 bicubic
tinynet_b.in1k 74.978 3.73 188 bicubic
tinynet_c.in1k 71.240 2.46 184 bicubic
tinynet_d.in1k 66.974 2.34 152 bicubic
tinynet_e.in1k 59.866 2.04 106 bicubic
hardcorenas_a.miil_green_in1k 75.930 5.26 224 bilinear
hardcorenas_b.miil_green_in1k 76.536 5.18 224 bilinear
hardcorenas_c.miil_green_in1k 77.058 5.52 224 bilinear
hardcorenas_d.miil_green_in1k 77.440 7.50 224 bilinear
hardcorenas_e.miil_green_in1k 77.784 8.07 224 bilinear
hardcorenas_f.miil_green_in1k 78.098 8.20 224 bilinear
lcnet_100.ra2_in1k 72.096 2.95 224 bicubic
lcnet_075.ra2_in1k 68.782 2.36 224 bicubic
lcnet_050.ra2_in1k 63.120 1.88 224 bicubic
efficientnet_es.ra_in1k 78.054 5.44 224 bicubic
efficientnet_em.ra2_in1k 79.240 6.90 240 bicubic
efficientnet_el.ra_in1k 81.312 10.59 300 bicubic
tf_efficientnet_es.in1k 76.600 5.44 224 bicubic
tf_efficientnet_em.in1k 78.122 6.90 240 bicubic
tf_efficientnet_el.in1k 80.252 10.59 300 bicubic
tf_efficientnetv2_b0.in1k 78.358 7.14 224 bicubic
tf_efficientnetv2_b1.in1k 79.462 8.14 240 bicubic
tf_efficientnetv2_b2.in1k 80.194 10.10 260 bicubic
tf_efficientnetv2_b3.in21k_ft_in1k 82.670 14.36 300 bicubic
tf_efficientnetv2_b3.in1k 81.970 14.36 300 bicubic
tf_efficientnetv2_s.in21k_ft_in1k 84.288 21.46 384 bicubic
tf_efficientnetv2_s.in1k 83.900 21.46 384 bicubic
mobilenetv4_conv_small.e2400_r224_in1k 74.616 3.77 256 bicubic
mobilenetv4_conv_small.e1200_r224_in1k 74.292 3.77 256 bicubic
mobilenetv4_conv_small_050.e3000_r224_in1k 65.810 2.24 256 bicubic
mobilenetv4_conv_medium.e500_r256_in1k 80.858 9.72 320 bicubic
mobilenetv4_conv_medium.e500_r224_in1k 79.808 9.72 256 bicubic
mobilenetv4_conv_large.e600_r384_in1k 83.392 32.59 448 bicubic
mobilenetv4_conv_large.e500_r256_in1k 82.674 32.59 320 bicubic
resnet18.a1_in1k 73.158 11.69 288 bicubic
resnet18.tv_in1k 69.760 11.69 224 bilinear
resnet34.a1_in1k 77.918 21.80 288 bicubic
resnet34.bt_in1k 76.480 21.80 288 bicubic
resnet50.a1_in1k 81.214 25.56 288 bicubic
resnet50.a1h_in1k 80.676 25.56 224 bicubic
resnet50.tv2_in1k 80.850 25.56 224 bilinear
resnet50.tv_in1k 76.130 25.56 224 bilinear
regnetx_002.pycls_in1k 68.746 2.68 224 bicubic
regnetx_004.pycls_in1k 72.398 5.16 224 bicubic
regnetx_006.pycls_in1k 73.868 6.20 224 bicubic
regnetx_008.pycls_in1k 75.030 7.26 224 bicubic
regnetx_008.tv2_in1k 77.304 7.26 224 bicubic
regnety_002.pycls_in1k 70.278 3.16 224 bicubic
regnety_004.pycls_in1k 74.028 4.34 224 bicubic
regnety_004.tv2_in1k 75.598 4.34 224 bicubic
regnety_006.pycls_in1k 75.270 6.06 224 bicubic
regnety_008.pycls_in1k 76.302 6.26 224 bicubic
mixnet_s.ft_in1k 75.994 4.13 224 bicubic
mixnet_m.ft_in1k 77.258 5.01 224 bicubic
mixnet_l.ft_in1k 78.966 7.33 224 bicubic
tf_mixnet_s.in1k 75.652 4.13 224 bicubic
tf_mixnet_m.in1k 76.954 5.01 224 bicubic
tf_mixnet_l.in1k 78.776 7.33 224 bicubic
ghostnet_100.in1k 73.982 5.18 224 bilinear
repvgg_a0.rvgg_in1k 72.410 9.11 224 bilinear
repvgg_a1.rvgg_in1k 74.460 14.09 224 bilinear
repvgg_a2.rvgg_in1k 76.458 28.21 224 bilinear
mobileone_s0.apple_in1k 71.400 5.29 224 bilinear
mobileone_s1.apple_in1k 75.900 4.83 224 bilinear
mobileone_s2.apple_in1k 77.400 7.88 224 bilinear
mobileone_s3.apple_in1k 78.100 10.17 224 bilinear
mobileone_s4.apple_in1k 79.400 14.95 224 bilinear
hgnetv2_b0.ssld_stage2_ft_in1k 77.770 6.00 224 bicubic
hgnetv2_b1.ssld_stage2_ft_in1k 79.180 6.34 224 bicubic
hgnetv2_b2.ssld_stage2_ft_in1k 81.740 11.22 224 bicubic
hgnetv2_b3.ssld_stage2_ft_in1k 82.980 16.29 224 bicubic
"""
FACTS = {line.split()[0]: line.split()[1:] for line in TIMM.strip().splitlines()}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AS_IT_IS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

ROWS = [row for row in listing() if row.implementation == "timm"]


def statistics(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """timm's mean and deviation for the weights of that name."""
    if ".miil_in21k" in name:
        return AS_IT_IS
    network, _, tag = name.partition(".")
    of_half = ("tf_efficientnet_lite", "tf_mobilenetv3", "tf_efficientnet_e", "tf_efficientnetv2_s")
    is_half = tag.startswith(("ap_", "ra4_", "e3000_")) or network.startswith(of_half)
    return HALF if is_half or name == "tf_efficientnetv2_b3.in21k_ft_in1k" else IMAGENET


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_of_timms_has_its_published_accuracy_size_and_preprocessing(row: PublishedWeights) -> None:
    top1, mega_params, pixels, interpolation = FACTS[row.name]
    assert row.top1 == pytest.approx(float(top1), abs=0.01)
    assert f"{params(row.spec()) / 1e6:.2f}" == mega_params
    mean, std = statistics(row.name)
    assert row.preprocessing == Preprocessing(mean=mean, std=std, interpolation=interpolation, pixels=int(pixels))  # type: ignore[arg-type]
    assert row.spec().conventions.padding == ("same" if row.name.startswith("tf_") else "half")


def test_packaged_weights_are_the_released_lite_networks_with_their_own_scale() -> None:
    rows = [row for row in listing() if row.package]
    assert [(row.name, row.top1, row.preprocessing.pixels) for row in rows] == [
        ("efficientnet_lite0", 75.1, 224),
        ("efficientnet_lite1", 76.7, 240),
        ("efficientnet_lite2", 77.6, 260),
    ]
    for row in rows:
        assert row.preprocessing.centre == pytest.approx((127, 127, 127))
        assert row.preprocessing.scale == pytest.approx((128, 128, 128))
        assert row.spec().conventions.padding == "same"
        assert row.licence == "apache-2.0"
