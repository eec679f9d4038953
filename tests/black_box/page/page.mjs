// Writes into the page what has become of its parts, for the test to read.
const report = (name, value) => {
  const item = document.createElement("li");
  item.textContent = `${name}=${value}`;
  document.getElementById("findings").append(item);
};

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
