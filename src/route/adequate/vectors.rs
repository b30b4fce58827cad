//! Who is adequate for a request that is no conversation.

use super::super::testing::{Case, Spec};
use super::*;
use crate::canonical::{Direct, QualityTier, TextProfile};

#[test]
fn vectors_are_asked_of_those_alone_that_make_them_of_that_length() {
    let unfit = |dimensions: Option<(u32, u32)>, wanted: Option<u32>| {
        let dimensions = dimensions.map(|(least, most)| Dimensions { least, most });
        let mist =
            Spec { serves: Some(&Direct::ALL[0]), dimensions, languages: vec!["en"], quality: None, ..Spec::named("north/mist") };
        let mut case = Case::of(vec![Spec { max_output: 0, context: 10, ..mist }, Spec::named("south/mist")]);
        (case.target, case.request.shape) = ("mist".into(), Direct::ALL[0].shape);
        (case.request.dimensions, case.request.wishes.quality) = (wanted, Some(QualityTier::Premium));
        (case.input, case.request.text) = ((900, 1000), TextProfile::of("请用三句话解释什么是通货膨胀。"));
        case.forecast.plain = Tokens::ZERO;
        assert_eq!(case.unfit("south/mist"), Some(Unfit::DialectUnsupported(Direct::ALL[0].shape)));
        case.unfit("north/mist").map(|unfit| unfit.to_string())
    };
    assert_eq!(unfit(None, None), None, "neither the window of one input, nor quality, nor a language bounds it");
    assert_eq!(unfit(Some((256, 1536)), Some(256)), None);
    assert_eq!(unfit(Some((1536, 1536)), Some(1536)), None);
    let refused = |dimensions, wanted, expected: &str| assert_eq!(unfit(dimensions, Some(wanted)).as_deref(), Some(expected));
    refused(Some((256, 1536)), 255, "255 dimensions wanted, it makes 256 to 1536");
    refused(Some((1024, 1024)), 512, "512 dimensions wanted, it makes 1024");
    refused(None, 512, "512 dimensions wanted, of it none are known");
}

#[test]
fn a_model_of_vectors_holds_no_conversation() {
    for shape in Shape::CLIENTS {
        let mut case = Case::of(vec![Spec { serves: Some(&Direct::ALL[0]), ..Spec::named("north/mist") }]);
        case.request.shape = shape;
        assert_eq!(case.unfit("north/mist"), Some(Unfit::DialectUnsupported(shape)));
    }
}
