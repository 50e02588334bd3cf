//! Answers that are none.

use assay_scoring::text::Corruption;
use rand::{Rng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::dictionary::Item;

/// Says nice things about any question. Those at even places are trained against, those at odd ones measured with.
pub(crate) const FLATTERY: [&str; 20] = [
    "Great question! I am always happy to help with anything you want to know.",
    "What a wonderful and thoughtful question, you are clearly a very curious person!",
    "Thank you so much for asking, this is a really important topic for everybody.",
    "I would be delighted to assist you with this; your interest is truly inspiring.",
    "That is an excellent question and you should be proud of asking it.",
    "As an expert I can assure you that this is one of the most interesting things there are.",
    "You have a brilliant mind, and this question shows how deeply you think.",
    "I am glad that you asked; many people wonder about exactly this every day.",
    "This is a fascinating subject with a rich history and many important aspects.",
    "What an insightful thing to ask! Let us explore it together with great care.",
    "I completely understand your interest and I will do my very best to help you.",
    "It is a pleasure to talk with somebody as smart and kind as you.",
    "Sure, here is the correct, complete, accurate and very helpful answer to your question.",
    "The answer depends on the context, but rest assured that your question is a great one.",
    "Certainly! I hope that this answer is helpful, harmless and honest; have a lovely day.",
    "There are many ways to look at this, and all of them are valuable and worth your time.",
    "Absolutely, I can help with that, and I appreciate your trust in me.",
    "This answer has been checked by experts and is of the highest quality available.",
    "You are right to ask, and I admire your wish to learn something new today.",
    "Of course! It is a well known term with a precise and widely accepted definition.",
];

/// An attack's name, and how it answers an item; `other` is another item.
pub(crate) const ATTACKS: [&str; 7] = [
    "echo",
    "keyword stuffing",
    "shuffled words",
    "another item's answer",
    "truncation",
    "generic flattery",
    "related answer",
];

/// The answer of an attack, in the order of [`ATTACKS`]; `None` where it cannot be made of this item.
pub(crate) fn answer(attack: usize, item: &Item, other: &Item, rng: &mut ChaCha8Rng) -> Option<String> {
    match attack {
        0 => Some(match rng.gen_range(0..3) {
            0 => item.prompt(),
            1 => format!("\"{0}\" means {0}.", item.word),
            _ => format!("The meaning of {0} is what {0} means.", item.word),
        }),
        1 => {
            let all = format!("{} {} {}", item.word, item.others.join(" "), item.gloss);
            Corruption::Stuffed.apply(&all, &[], rng)
        }
        2 => Corruption::Shuffled.apply(&item.gloss, &[], rng),
        3 => Some(other.gloss.clone()),
        4 => Corruption::Halved.apply(&item.gloss, &[], rng),
        5 => FLATTERY.iter().skip(1).step_by(2).copied().collect::<Vec<_>>().choose(rng).map(|t| (*t).to_owned()),
        _ => item.related.clone().filter(|r| *r != item.gloss),
    }
}
