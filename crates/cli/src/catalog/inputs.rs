//! Owns the rows of the datasets for APIs that generate nothing: texts to embed, documents to rank.
//!
//! It must not know flags, nor how files are downloaded.

use evalscope_workload::dataset::{
    ArgsError, ArgsReader, Batches, EmbeddingTexts, PromptSource, Random, RandomDocuments,
    RandomRerank, RerankFile,
};

use super::dataset_row::{DatasetRow, Feeds, Opening, Origin, TEXTS};

/// Texts in a request if nothing is said of it, as in EvalScope.
const BATCH_SIZE: u64 = 8;

/// The same of the documents of a query.
const DOCUMENTS: u64 = 10;

/// The same of their length, in lengths of the query.
const LENGTH_RATIO: f64 = 5.0;

const FILES: DatasetRow = DatasetRow {
    feeds: Feeds::Texts,
    ..TEXTS
};

pub(super) const EMBEDDING: DatasetRow = DatasetRow {
    name: "embedding",
    aliases: &["embed"],
    help: "Texts to embed: lines of a .txt, or texts in .json or .jsonl; needs --dataset-path",
    open: |with| Ok(EmbeddingTexts::open(with.place)?),
    ..FILES
};

pub(super) const EMBEDDING_BATCH: DatasetRow = DatasetRow {
    name: "embedding_batch",
    help: "The same, several texts in a request (`batch_size` in --dataset-args)",
    args: |args| batch_size(args).map(drop),
    extra_keys: &["batch_size"],
    open: |with| batches(with, EmbeddingTexts::open(with.place)?),
    ..FILES
};

pub(super) const RANDOM_EMBEDDING: DatasetRow = DatasetRow {
    name: "random_embedding",
    help: "Random texts of exact length to embed; needs --tokenizer-path",
    origin: Origin::Random,
    open: |with| Ok(Box::new(Random::new((with.random)()?, with.offset))),
    ..FILES
};

pub(super) const RANDOM_EMBEDDING_BATCH: DatasetRow = DatasetRow {
    name: "random_embedding_batch",
    help: "The same, several texts in a request (`batch_size` in --dataset-args)",
    origin: Origin::Random,
    args: |args| batch_size(args).map(drop),
    extra_keys: &["batch_size"],
    open: |with| {
        let size = batch_size(&mut ArgsReader::new(with.args.clone()))?;
        let texts = Random::new((with.random)()?, with.offset.saturating_mul(size));
        batches(with, Box::new(texts))
    },
    ..FILES
};

pub(super) const RERANK: DatasetRow = DatasetRow {
    name: "rerank",
    help: "Queries with `documents` to rank, in .json or .jsonl; needs --dataset-path",
    feeds: Feeds::Rankings,
    open: |with| Ok(Box::new(RerankFile::open(with.place)?)),
    ..TEXTS
};

pub(super) const RANDOM_RERANK: DatasetRow = DatasetRow {
    name: "random_rerank",
    help: "Random queries and documents (`num_documents`, `document_length_ratio` in --dataset-args); needs \
           --tokenizer-path",
    origin: Origin::Random,
    feeds: Feeds::Rankings,
    args: |args| documents(args).map(drop),
    extra_keys: &["num_documents", "document_length_ratio"],
    open: |with| {
        let documents = documents(&mut ArgsReader::new(with.args.clone()))?;
        Ok(Box::new(RandomRerank::new(
            (with.random)()?,
            documents,
            with.offset,
        )))
    },
    ..TEXTS
};

fn batches(
    with: &Opening<'_>,
    texts: Box<dyn PromptSource>,
) -> anyhow::Result<Box<dyn PromptSource>> {
    let size = batch_size(&mut ArgsReader::new(with.args.clone()))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    Ok(Box::new(Batches::new(texts, size)))
}

fn batch_size(args: &mut ArgsReader) -> Result<u64, ArgsError> {
    let wanted = "a whole number greater than 0";
    let size = args.take("batch_size", wanted, |size| *size > 0)?;
    Ok(size.unwrap_or(BATCH_SIZE))
}

fn documents(args: &mut ArgsReader) -> Result<RandomDocuments, ArgsError> {
    let count = args.take("num_documents", "a whole number greater than 0", |n| *n > 0)?;
    let ratio = args.take("document_length_ratio", "a number greater than 0", |n| {
        *n > 0.0 && f64::is_finite(*n)
    })?;
    Ok(RandomDocuments {
        count: count.unwrap_or(DOCUMENTS),
        length_ratio: ratio.unwrap_or(LENGTH_RATIO),
    })
}
