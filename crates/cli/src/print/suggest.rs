//! "Did you mean": the closest known word.

/// Most edits between a word and what was probably meant.
const EDITS_MAX: usize = 2;

/// The candidate closest to `word`: at most two edits away, or, for dotted keys, with the same last part.
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let near = candidates
        .clone()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= EDITS_MAX)
        .min_by_key(|(edits, _)| *edits);
    let same_end = || {
        let last = word.rsplit('.').next().filter(|last| !last.is_empty())?;
        candidates.clone().find(|candidate| candidate.contains('.') && candidate.rsplit('.').next() == Some(last))
    };
    near.map(|(_, candidate)| candidate).or_else(same_end)
}

/// Edit distance (insert, delete, replace, swap of neighbours count one each), ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row[j] = best;
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_and_moved_keys() {
        let keys = ["system.max_agents", "api.port", "provider"];
        assert_eq!(closest("system.max_agnets", keys.into_iter()), Some("system.max_agents"));
        assert_eq!(closest("providr", keys.into_iter()), Some("provider"));
        assert_eq!(closest("server.port", keys.into_iter()), Some("api.port"));
        assert_eq!(closest("nothing.alike", keys.into_iter()), None);
    }
}
