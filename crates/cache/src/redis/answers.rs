//! What Redis answers, read: bytes that anybody may have written.

use batch::{CustomerId, RunId};
use bytes::Bytes;

use crate::VisibleRuns;
use crate::members::{self, Held, Page, Pages};
use crate::packed::{self, Bucket, SUM_LEN};

/// What stands in the fields of a hash, or nothing.
pub(super) type Fields = Vec<Option<Bytes>>;

/// The visible runs, as the three fields in which they stand.
pub(super) fn visible_fields(visible: &VisibleRuns) -> [String; 3] {
    let runs: Vec<String> = visible.runs.iter().map(RunId::to_string).collect();
    let runs = runs.join(" ");
    let sum = list_sum(visible.version, &runs);
    [visible.version.to_string(), runs, u32::from_le_bytes(sum).to_string()]
}

/// Reads the visible runs from their three fields; none if they are not as they were written.
pub(super) fn read_visible(fields: &[Option<Bytes>]) -> Option<VisibleRuns> {
    let [Some(version), Some(runs), Some(sum)] = fields else { return None };
    let version = read_number(version)?;
    let runs = str::from_utf8(runs).ok()?;
    if read_number(sum)? != i64::from(u32::from_le_bytes(list_sum(version, runs))) {
        return None;
    }
    let runs = runs.split_whitespace().map(|run| run.parse().ok());
    Some(VisibleRuns { version, runs: runs.collect::<Option<_>>()? })
}

fn list_sum(version: i64, runs: &str) -> [u8; SUM_LEN] {
    packed::checksum(RunId(0), version, runs.as_bytes())
}

/// Reads what the script `VALUE` found of a customer: the fields of the visible runs, then under each run his value, or
/// nothing and what its directory says: how many pages it has, and the one that his bucket is on.
pub(super) fn read_found(customer: CustomerId, found: &[Option<Bytes>]) -> (Option<RunId>, Held) {
    let Some((list, mut rest)) = found.split_at_checked(3) else {
        return (None, Held::Damaged("the visible runs are of another type".into()));
    };
    if list.iter().all(Option::is_none) {
        return (None, Held::Unknown);
    }
    let Some(visible) = read_visible(list) else {
        return (None, Held::Damaged("the visible runs are not as they were written".into()));
    };
    let under_each = visible.runs.into_iter().map_while(|run| match rest {
        [Some(value), ..] => {
            rest = &[];
            let held = match packed::read_value(run, customer, value) {
                Ok(value) => Held::Value(value),
                Err(_) if packed::may_be_of_another_release(value) => Held::Unknown,
                Err(reason) => Held::Damaged(reason.to_string()),
            };
            Some((run, held))
        }
        [None, pages, page, others @ ..] => {
            rest = others;
            Some((run, under_pages(run, customer, pages.as_deref(), page.as_deref())))
        }
        _ => None,
    });
    members::newest(under_each)
}

/// What a run's directory says of a customer whose value is not here.
fn under_pages(run: RunId, customer: CustomerId, pages: Option<&[u8]>, page: Option<&[u8]>) -> Held {
    let (Some(pages), Some(page)) = (pages, page) else { return Held::Unknown };
    let (bucket, _) = Bucket::of(customer);
    let page = Pages::read(pages).and_then(|pages| Page::read(run, pages, pages.of(bucket), page));
    match page {
        None => Held::Damaged(format!("the directory of run {run} is not as it was written")),
        Some(page) if page.names(customer) => Held::Unknown,
        Some(_) => Held::NoMember,
    }
}

fn read_number(digits: &[u8]) -> Option<i64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn visible_runs_are_read_or_refused() {
        let check = |version: i64, runs: &str, expected: Option<&[i64]>| {
            let sum = u32::from_le_bytes(list_sum(version, runs)).to_string();
            let read =
                read_visible(&[Some(bytes(&version.to_string())), Some(bytes(runs)), Some(bytes(&sum))]);
            let runs = expected.map(|runs| runs.iter().copied().map(RunId).collect());
            assert_eq!(read, runs.map(|runs| VisibleRuns { version, runs }));
        };

        check(7, "3 2 1", Some(&[3, 2, 1]));
        check(7, "", Some(&[]));
        check(7, "3,2", None);
        let [version, runs, sum] =
            visible_fields(&VisibleRuns { version: 7, runs: vec![RunId(3), RunId(2)] });
        assert!(read_visible(&[Some(bytes(&version)), Some(bytes(&runs)), Some(bytes(&sum))]).is_some());
        assert_eq!(read_visible(&[Some(bytes(&version)), Some(bytes("2 3")), Some(bytes(&sum))]), None);
        assert_eq!(read_visible(&[Some(bytes("8")), Some(bytes(&runs)), Some(bytes(&sum))]), None);
        assert_eq!(read_visible(&[Some(bytes(&version)), Some(bytes(&runs)), None]), None);
    }

    #[test]
    fn what_another_release_may_have_written_is_no_answer_and_no_damage() {
        let list = visible_fields(&VisibleRuns { version: 7, runs: vec![RunId(2), RunId(1)] });
        let check = |value: &str, is_damaged: bool| {
            let found: Vec<Option<Bytes>> =
                list.iter().map(String::as_str).chain([value]).map(|it| Some(bytes(it))).collect();
            let (run, held) = read_found(CustomerId(17), &found);
            assert_eq!((run, matches!(held, Held::Damaged(_))), (Some(RunId(2)), is_damaged), "{held:?}");
            assert!(is_damaged || held == Held::Unknown);
        };

        check("\x02 an earlier release's", false);
        check("\x04 a later release's", false);
        check("\x03 cut", true);
        check("gibberish", true);
        check("", true);
    }

    #[test]
    fn a_run_is_passed_by_only_with_its_own_page_that_does_not_name_the_customer() {
        let list = visible_fields(&VisibleRuns { version: 7, runs: vec![RunId(2), RunId(1)] });
        let page_of = |run: i64, numbers: &[i64]| {
            let customers: Vec<CustomerId> = numbers.iter().copied().map(CustomerId).collect();
            let (pages, all) = members::pages(&customers);
            let number = pages.of(Bucket(0));
            [
                Some(bytes(&pages.count().to_string())),
                Some(all[number as usize].write(RunId(run), pages, number)),
            ]
        };
        let check = |directory: [Option<Bytes>; 2], expected: fn(&Held) -> bool, passed_by: bool| {
            let mut found: Vec<Option<Bytes>> = list.iter().map(|field| Some(bytes(field))).collect();
            found.push(None);
            found.extend(directory);
            found.extend([None, None, None]);
            let (run, held) = read_found(CustomerId(17), &found);
            assert!(expected(&held), "{held:?}");
            assert_eq!(run, Some(RunId(if passed_by { 1 } else { 2 })));
        };
        let unknown = |held: &Held| *held == Held::Unknown;
        let damaged = |held: &Held| matches!(held, Held::Damaged(_));
        let [pages, page] = page_of(2, &[18]);

        check(page_of(2, &[18]), unknown, true);
        check(page_of(2, &[1_000]), unknown, true);
        check(page_of(2, &[]), unknown, true);
        check(page_of(2, &[17, 18]), unknown, false);
        check([pages.clone(), None], unknown, false);
        check([None, page.clone()], unknown, false);
        check([None, None], unknown, false);
        check(page_of(1, &[18]), damaged, false);
        check([pages, Some(bytes("gibberish"))], damaged, false);
        for pages in ["0", "2", "-1", "gibberish", ""] {
            check([Some(bytes(pages)), page.clone()], damaged, false);
        }
        // The script ends where it is not told how many pages there are.
        let cut: Vec<_> = list.iter().map(|field| Some(bytes(field))).chain([None, None]).collect();
        assert_eq!(read_found(CustomerId(17), &cut), (None, Held::Unknown));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(found: Vec<Option<Vec<u8>>>) {
            let found: Fields = found.into_iter().map(|field| field.map(Bytes::from)).collect();

            let _ = (read_visible(&found), read_found(CustomerId(17), &found));
        }

        #[test]
        fn visible_runs_come_back(version: i64, runs: Vec<i64>) {
            let visible = VisibleRuns { version, runs: runs.into_iter().map(RunId).collect() };

            let fields = visible_fields(&visible).map(|field| Some(bytes(&field)));

            prop_assert_eq!(read_visible(&fields), Some(visible));
        }
    }
}
