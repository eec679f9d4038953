// The listings that are looked at, by the sample in lib.sh.
export const PAGES = {
  root: "/",
  deep: "/photos/2026%20Summer%20%E2%80%93%20%C3%86r%C3%B8sk%C3%B8bing/",
  releases: "/releases/?sort=time&order=desc",
  ugly: "/ugly/",
  many: "/many/?sort=size&order=desc&page=2",
  empty: "/empty/",
};
