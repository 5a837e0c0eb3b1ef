//! The price table: exact, honest about what it does not know, and open to correction.
use std::io::Write as _;

use maos_engine::message::Usage;
use maos_llm::{PriceTable, Provider};

/// Midnight UTC of a day.
fn at(day: &str) -> i64 {
    format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().expect("a day").as_millisecond()
}

const NOW: &str = "2026-11-22";

fn usage(input: u64, output: u64, read: u64, w5: u64, w1h: u64) -> Usage {
    Usage {
        input_tokens: input,
        output_tokens: output,
        cache_read_tokens: read,
        cache_write_5m_tokens: w5,
        cache_write_1h_tokens: w1h,
        web_searches: 0,
        estimated: false,
    }
}

#[test]
fn costs_are_exact() {
    let table = PriceTable::built_in();
    let price = table.price(Provider::Claude, "claude-haiku-4-5-20251001", at(NOW)).expect("a price");
    // 1 $/Mtok is 1,000 nano-USD a token; a search of the provider's own is 1 cent.
    assert_eq!(price.cost(&Usage { web_searches: 2, ..usage(1, 0, 0, 0, 0) }), 1_000 + 20_000_000);
    assert_eq!(price.cost(&usage(1, 0, 0, 0, 0)), 1_000);
    assert_eq!(price.cost(&usage(1_000, 100, 10_000, 2_000, 500)), 1_000_000 + 500_000 + 1_000_000 + 2_500_000 + 1_000_000);
    assert_eq!(price.cost(&Usage::default()), 0);
    assert_eq!(price.batch_milli, 500);
    // 0.075 $/Mtok: 13 cached tokens are 975 nano-USD, exactly.
    let mini = table.price(Provider::OpenAi, "gpt-4o-mini-2024-07-18", at(NOW)).expect("a price");
    assert_eq!(mini.cost(&usage(0, 0, 13, 0, 0)), 975);
    // Rounded half up once, not per class: 2 × 0.125 + 1 × 0.01 $/Mtok …
    let haiku = table.price(Provider::Claude, "claude-haiku-5-5", at(NOW)).expect("a price");
    assert_eq!(haiku.cost(&usage(0, 0, 1, 1, 0)), 10 + 125);
    assert!(haiku.cost(&usage(u64::MAX / 4, u64::MAX / 4, 0, 0, 0)) == i64::MAX, "saturates");
}

#[test]
fn a_long_prompt_has_its_own_price_for_all_its_tokens() {
    let table = PriceTable::built_in();
    let price = table.price(Provider::Claude, "claude-haiku-5-5", at(NOW)).expect("a price");
    assert_eq!(price.cost(&usage(100_000, 1_000, 0, 0, 0)), 10_000_000 + 500_000);
    assert_eq!(price.cost(&usage(1, 1_000, 100_000, 0, 0)), 500 + 2_500_000 + 5_000_000);
    assert!(price.worst_case(100_001, 1_000) >= price.cost(&usage(0, 1_000, 0, 100_001, 0)), "a reservation covers cache writes");
}

#[test]
fn what_nobody_knows_has_no_price_and_what_is_free_costs_nothing() {
    let table = PriceTable::built_in();
    assert!(table.price(Provider::Claude, "claude-next-9", at(NOW)).is_none());
    assert!(table.price(Provider::OpenAi, "my-own-model", at(NOW)).is_none());
    for provider in [Provider::Local, Provider::Scripted] {
        assert_eq!(table.price(provider, "anything", at(NOW)).expect("an entry").cost(&usage(9, 9, 9, 9, 9)), 0);
    }
}

#[test]
fn prices_change_with_time_and_history_does_not() {
    let table = PriceTable::built_in();
    let read = |day: &str| table.price(Provider::Claude, "claude-sonnet-5-5", at(day)).map(|p| p.cost(&usage(0, 0, 1_000, 0, 0)));
    assert_eq!((read("2026-10-06"), read("2026-10-07"), read("2026-01-01")), (Some(200_000), Some(100_000), None));
}

#[test]
fn retired_models_name_their_replacement() {
    let table = PriceTable::built_in();
    let retired = |model: &str, day: &str| table.retired(Provider::Claude, model, at(day));
    let old = retired("claude-3-sonnet-20240229", NOW).expect("it is retired");
    assert_eq!((old.on.to_string().as_str(), old.replacement.as_deref()), ("2025-07-21", Some("claude-sonnet-5-5")));
    assert!(retired("claude-3-sonnet-20240229", "2025-07-20").is_none());
    assert!(retired("claude-sonnet-4-5", "2026-11-29").is_none() && retired("claude-sonnet-4-5", "2026-11-30").is_some());
    assert!(retired("claude-unheard-of", NOW).is_none());
    // A replacement is not itself retired, and has a price.
    for model in ["claude-2.1", "claude-3-haiku-20240307", "claude-3-opus-20240229", "claude-opus-4-20250514", "claude-opus-4-1-20250805"] {
        let replacement = retired(model, NOW).and_then(|r| r.replacement).expect(model);
        assert!(retired(&replacement, NOW).is_none() && table.price(Provider::Claude, &replacement, at(NOW)).is_some(), "{model}");
    }
    assert!(table.active(Provider::Claude, at(NOW)).iter().all(|m| !m.contains("claude-3")));
}

#[test]
fn a_file_of_ones_own_comes_first() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = "
models:
  - model: 'openai/my-own-model'
    effective_from: '2026-01-01'
    source: our contract
    per_mtok: {input: '1', output: '2', cache_read: '0.5', cache_write_5m: '1', cache_write_1h: '1'}
  - model: 'claude/claude-haiku-4-5*'
    effective_from: '2026-01-01'
    source: our contract
    per_mtok: {input: '0.9', output: '4', cache_read: '0.1', cache_write_5m: '1', cache_write_1h: '2'}
";
    file.write_all(yaml.as_bytes()).expect("written");
    let table = PriceTable::with_file(file.path()).expect("a table");
    assert_eq!(table.price(Provider::OpenAi, "my-own-model", at(NOW)).map(|p| p.cost(&usage(1, 1, 0, 0, 0))), Some(3_000));
    let own = table.price(Provider::Claude, "claude-haiku-4-5", at(NOW)).expect("a price");
    assert_eq!((&*own.source, own.cost(&usage(10, 0, 0, 0, 0))), ("our contract", 9_000));
    assert!(table.price(Provider::Claude, "claude-opus-5-5", at(NOW)).is_some(), "the rest stays");

    for (bad, word) in [
        ("models: [{model: claude-x, effective_from: '2026-01-01', source: s}]", "provider/model"),
        ("models: [{model: claude/x, effective_from: soon, source: s}]", "not a date"),
        ("models: [{model: claude/x, effective_from: '2026-01-01', source: s, currency: EUR}]", "EUR"),
        (
            "models: [{model: claude/x, effective_from: '2026-01-01', source: s, per_mtok: {input: '-1', output: '1', cache_read: '1', cache_write_5m: '1', cache_write_1h: '1'}}]",
            "decimal",
        ),
        ("modells: []", "modells"),
    ] {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bad.as_bytes()).expect("written");
        let error = PriceTable::with_file(file.path()).expect_err(bad);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_example_of_the_manual_is_a_price_table() {
    let manual = include_str!("../../../../docs/models.md");
    let yaml = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let table = PriceTable::with_file(file.path()).expect("a table");
    let price = table.price(Provider::OpenAi, "my-model-2026-02-03", at(NOW)).expect("a price");
    assert_eq!(price.cost(&usage(200_001, 0, 0, 0, 0)), 480_002_400);
}

#[test]
fn halves_of_a_nano_usd_are_rounded_up_once() {
    let yaml = "
models:
  - model: 'openai/m'
    effective_from: '2026-01-01'
    source: test
    per_mtok: {input: '0.0005', output: '0.0004', cache_read: '0', cache_write_5m: '0', cache_write_1h: '0'}
";
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let price = PriceTable::with_file(file.path()).expect("a table").price(Provider::OpenAi, "m", at(NOW)).expect("a price");
    let cost = |input, output| price.cost(&usage(input, output, 0, 0, 0));
    assert_eq!((cost(1, 0), cost(2, 0), cost(3, 0), cost(0, 1), cost(1, 1)), (1, 1, 2, 0, 1));
}
