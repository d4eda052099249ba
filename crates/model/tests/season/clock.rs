//! The clock itself: its weeks, its way there and back, and what it says of a customer's times.

use model::{Season, Summary};

use crate::weddings::{NEW_YEAR_2016, NEW_YEAR_2020, NEW_YEAR_2024, wedding_season};

#[test]
fn the_year_has_its_weeks_where_they_are_said_to_be() {
    let mut activity = [1.0; Season::WEEKS];
    for (week, value) in activity.iter_mut().enumerate() {
        *value += week as f64;
    }
    let season = Season::of_activity(&activity).unwrap();
    let index_on = |day: i64| 7.0 * (season.tau((day + 1) as f64) - season.tau(day as f64));
    let check = |day: i64, week: usize| {
        assert!((index_on(day) - season.index()[week]).abs() < 1e-9, "{day}: {} {week}", index_on(day));
    };

    for (new_year, days) in [(NEW_YEAR_2016, 366), (NEW_YEAR_2020 + 366, 365), (0, 365), (10_957, 366)] {
        check(new_year, 0);
        check(new_year + 6, 0);
        check(new_year + 7, 1);
        check(new_year + 356, 50);
        check(new_year + 357, 51);
        check(new_year + days - 1, 51);
        check(new_year + days, 0);
        check(new_year - 1, 51);
    }
}

#[test]
fn operational_time_is_continuous_rising_and_undone() {
    let season = wedding_season();

    for day in [-400_000_i64, -1, 0, 11_322, 19_000, 47_481, 900_000] {
        for quarter in 0..4 * 800 {
            let moment = day as f64 + f64::from(quarter) / 4.0;
            let rise = season.tau(moment + 0.25) - season.tau(moment);
            assert!(rise > 0.0 && rise < 0.25, "{moment}: {rise}");
            // A fortieth of the usual speed in winter: the rounding of tau counts forty times.
            assert!((season.moment(season.tau(moment)) - moment).abs() < 1e-7, "{moment}");
        }
    }
    let four_centuries = 146_097.0;
    let gap = season.tau(1234.5 + four_centuries) - season.tau(1234.5) - four_centuries / 7.0;
    assert!(gap.abs() < 1e-11, "{gap}");
}

#[test]
fn times_are_differences_of_operational_time() {
    let season = wedding_season();

    for i in 0..5000_u32 {
        let (age_days, last_day) = (i * 7919 % 9000, NEW_YEAR_2024 + i64::from(i * 31 % 1500));
        let recency_days = i * 104_729 % (age_days + 1);
        let summary = Summary { frequency: 1, recency_days, age_days, repeat_spend_minor: 1 };
        let end_of = |day: i64| season.tau((day + 1) as f64);
        let first_day = last_day - i64::from(age_days);

        let (t_x, age) = season.times(&summary, last_day);

        assert_eq!(season.clock(last_day).times(&summary), (t_x, age));
        assert!((t_x - (end_of(first_day + i64::from(recency_days)) - end_of(first_day))).abs() < 1e-11);
        assert!((age - (end_of(last_day) - end_of(first_day))).abs() < 1e-11);
        assert!(0.0 <= t_x && t_x <= age);
        let weeks = f64::from(i) / 97.0;
        let horizon = season.tau((last_day + 1) as f64 + 7.0 * weeks) - end_of(last_day);
        assert!((season.horizon(last_day, weeks) - horizon).abs() < 1e-11);
    }
}

#[test]
fn days_at_the_ends_of_their_type_do_no_harm() {
    let season = wedding_season();

    for last_day in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        for age_days in [0, 1, u32::MAX] {
            for recency_days in [0, age_days] {
                let summary = Summary { frequency: 1, recency_days, age_days, repeat_spend_minor: 1 };
                let (t_x, age) = season.times(&summary, last_day);
                assert!((0.0..=1e10).contains(&t_x) && (t_x..=1e10).contains(&age), "{last_day} {summary:?}");
            }
        }
        assert!((0.0..=6000.0).contains(&season.horizon(last_day, 5217.75)));
    }
}

#[test]
fn an_index_survives_json_to_the_bit_and_a_wrong_one_is_named() {
    let season = wedding_season();
    let json = serde_json::to_string(&season).unwrap();
    let error = |json: &str| serde_json::from_str::<Season>(json).unwrap_err().to_string();

    let read: Season = serde_json::from_str(&json).unwrap();

    assert_eq!(read, season);
    assert!(read.index().iter().zip(season.index()).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert!(error(r#"{"index": ["1", "1"]}"#).contains("2 weeks given, 52 are needed"));
    assert!(error(&json.replacen("\"0.", "\"-0.", 1)).contains("season index of a week"));
    assert!(error(&json.replacen("\"0.", "\"0.9", 1)).contains("season mean"));
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut activity = [1.0; Season::WEEKS];
        activity[7] = wrong;
        assert!(Season::of_activity(&activity).is_err(), "{wrong}");
        assert!(Season::new(&activity).is_err(), "{wrong}");
    }
}
