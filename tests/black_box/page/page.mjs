// Tells what has become of the page's parts, each by a request, which the test reads in the access log.
const report = (name, value) => fetch(`found?${name}=${encodeURIComponent(value)}`);

const title = document.getElementById("title");
const image = document.getElementById("image");
const video = document.createElement("video");

image.decode().then(() => report("image", `${image.naturalWidth}x${image.naturalHeight}`));
report("color", getComputedStyle(title).color);
report("text", title.textContent);

video.muted = true;
video.addEventListener("error", () => report("error", video.error.message));
video.addEventListener("loadedmetadata", () => {
  report("video", `${video.videoWidth}x${video.videoHeight} of ${video.duration} s`);
  video.currentTime = 15;
});
video.addEventListener("seeked", () => report("seeked", video.currentTime));
video.src = "video.mp4";
