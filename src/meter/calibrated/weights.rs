//! The fitted weights. A table, not code: a new fit replaces the numbers and nothing else.
//!
//! A ridge fit for relative error over the 1,317 public metering texts with each family's own tokenizer: the tokens of the text
//! in `o200k` by kind and the sixteen features of its profile. In millionths of a token; some are negative because features
//! overlap, so only the sum means something.

use crate::catalog::TokenizerFamily;

/// Millionths: the fixed point of the weights.
pub(super) const ONE: i64 = 1_000_000;

/// What each thing that is counted in a text adds to a family's tokens.
pub(super) struct Weights {
    /// For a token of `o200k`, by its kind.
    pub(super) tokens: [i64; 26],
    /// For the features of `TextProfile::counts`, in its order.
    pub(super) features: [i64; 16],
    pub(super) bias: i64,
}

/// The weights of a family, if it was fitted.
pub(super) fn of(family: TokenizerFamily) -> Option<Weights> {
    Some(match family {
        TokenizerFamily::Qwen35 => Weights {
            tokens: [
                2_310_685, 200_490, -345_028, 0, 459_567, 480_848, -880_578, 902_002, 874_625, 849_745, 409_044, 346_275,
                602_156, -128_257, 686_745, 749_374, 867_058, 966_122, -38_078, 1_572_797, 255_852, 891_724, 865_976, 815_568,
                834_975, 631_833,
            ],
            features: [
                6_872, 3_362, 153_509, 2_810, 917_430, -89_296, 5_102, 400_425, 43_622, 59_596, 627_739, 33_228, 159_381, 57_293,
                1_099_189, 368_555,
            ],
            bias: 39_664,
        },
        TokenizerFamily::MistralSpmV7 => Weights {
            tokens: [
                393_587, 1_480_474, 5_118_616, 0, 1_212_063, 582_676, 267_731, 1_293_754, 377_900, 173_117, 764_431, 1_006_425,
                2_437_653, 1_201_887, 1_322_611, 2_864_199, 4_486_252, 906_892, 1_592_418, 2_640_775, 477_830, 939_423, 739_096,
                425_827, -200_101, 593_404,
            ],
            features: [
                128_011, 47_939, -201_545, 59_240, 838_032, -262_230, 26_120, 565_714, 89_242, -330_110, 868_493, -527_993,
                247_809, 194_040, -11_602, 42_678,
            ],
            bias: 68_837,
        },
        TokenizerFamily::Gemma3Gemini => Weights {
            tokens: [
                778_903, 482_017, -4_105_268, 0, 352_922, 346_611, -301_944, 800_060, 736_417, 541_698, 395_833, 208_126,
                208_601, -151_063, 846_651, 309_492, 632_991, 797_564, -418_793, 1_196_925, 171_752, 665_694, 476_345, 147_255,
                -225_466, 577_720,
            ],
            features: [
                71_140, 321_161, 342_095, 8_464, 950_272, -120_929, 6_621, 554_106, 74_060, -134_637, 680_183, 121_966, 258_475,
                67_493, 474_353, 378_902,
            ],
            bias: -24_911,
        },
        TokenizerFamily::Claude3Recon => Weights {
            tokens: [
                -863_786, -286_008, 13_193_890, 0, 971_394, 310_806, -106_316, 1_680_008, 590_929, -7_448, 584_690, 676_867,
                2_067_803, 568_602, 1_145_699, 2_258_111, 2_549_648, 810_445, 4_446_054, 3_631_792, 1_055_069, 937_072, 647_597,
                218_414, -306_051, 724_076,
            ],
            features: [
                141_356, -61_012, 408_130, 132_305, -19_020, -11_304, -21_968, 456_185, 113_720, -232_222, 656_540, -114_025,
                353_858, 283_236, 128_134, 105_853,
            ],
            bias: -151_355,
        },
        TokenizerFamily::Claude47Recon => Weights {
            tokens: [
                -1_767_513, -527_444, 16_017_432, 0, 1_311_782, 56_728, -189_108, 1_936_396, 628_930, -947_732, 813_307,
                1_061_232, 3_572_322, 1_048_858, 1_816_278, 3_032_331, 2_770_907, 1_461_211, 5_149_222, 4_426_053, 853_105,
                904_687, 996_106, 809_085, 686_737, 1_120_320,
            ],
            features: [
                236_183, -303_852, 160_429, 451_673, 50_961, 257_682, 41_765, -46_681, 132_638, -394_431, 1_191_324, -176_752,
                474_647, -76_580, -735, 121_375,
            ],
            bias: -226_579,
        },
        _ => return None,
    })
}
