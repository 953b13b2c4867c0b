//! Time zones of devices: what the label `tz` says, else what the agent reports, else UTC.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

/// The zone of a device by its name; `None` when neither names one that this machine knows.
pub(super) fn zone_of<'a>(label: Option<&'a str>, told: Option<&'a str>) -> Option<(&'a str, TimeZone)> {
    [label, told].into_iter().flatten().find_map(|name| Some((name, TimeZone::get(name).ok()?)))
}

/// Zones, each once; the first one is UTC.
pub(super) struct Zones {
    zones: Vec<TimeZone>,
    places: BTreeMap<String, u16>,
}
impl Default for Zones {
    fn default() -> Self {
        Self { zones: vec![TimeZone::UTC], places: BTreeMap::new() }
    }
}
impl Zones {
    /// The place of a zone; there are some hundreds in the world.
    pub(super) fn place(&mut self, zone: Option<(&str, TimeZone)>) -> u16 {
        let Some((name, zone)) = zone else { return 0 };
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let Ok(place) = u16::try_from(self.zones.len()) else { return 0 };
        self.zones.push(zone);
        self.places.insert(name.to_owned(), place);
        place
    }
    pub(super) fn into_inner(self) -> Vec<TimeZone> {
        self.zones
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_comes_first_and_a_name_that_is_none_is_passed_over() {
        assert_eq!(zone_of(Some("UTC"), Some("Etc/GMT")).map(|(n, _)| n), Some("UTC"));
        assert_eq!(zone_of(Some("Nowhere/City"), Some("UTC")).map(|(n, _)| n), Some("UTC"));
        assert!(zone_of(Some("../../etc/passwd"), None).is_none());
        assert!(zone_of(None, None).is_none());
    }
    #[test]
    fn each_zone_has_one_place() {
        let mut zones = Zones::default();
        assert_eq!(zones.place(None), 0);
        let one = zones.place(zone_of(Some("UTC"), None));
        assert_eq!(zones.place(zone_of(Some("UTC"), None)), one);
        assert_eq!(zones.into_inner().len(), 2);
    }
}
