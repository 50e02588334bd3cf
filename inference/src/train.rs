//! Training of a small language model from a dictionary, on processors alone.
//!
//! ```text
//! WordNet's files, texts ──corpus──> conversations ──vocabulary──> tokens ──trainer──> weights
//!                                                                                 └──save──> config.json, tokenizer.json,
//!                                                                                            model.safetensors, template
//! ```
//!
//! What it makes is a folder like any other from Hugging Face, of the Llama family. The same seed, sources and machine
//! make the same files to the byte.

mod corpus;
mod operations;
mod save;
mod trainer;
mod vocabulary;
mod wordnet;

pub use corpus::{Conversation, Corpus, is_held_out};
pub use save::{SaveError, save, to_gguf};
pub use trainer::{Progress, Shape, TrainError, TrainOptions, Trained, train};
pub use vocabulary::{ASSISTANT, END, SYSTEM, USER, tokens, train_tokenizer};
pub use wordnet::{Part, Sense, WordNet, WordNetError};
