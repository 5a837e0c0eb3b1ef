//! The shell script, the manual and the catalogue name the same bytes.
use maos_local::Catalog;

#[test]
fn the_fetch_script_the_manual_and_the_catalogue_agree() {
    let script = include_str!("../../../../scripts/fetch-model");
    let manual = include_str!("../../../../docs/local-model.md");
    for model in Catalog::default().models() {
        for fact in [&model.file, &model.sha256, &model.bytes.to_string()] {
            assert!(script.contains(fact.as_str()), "scripts/fetch-model does not name {fact} of {}", model.name);
            assert!(manual.contains(fact.as_str()), "docs/local-model.md does not name {fact} of {}", model.name);
        }
    }
}
