document.addEventListener("DOMContentLoaded", () => {
  // A line of a claim that holds is marked, so that a reader who scrolls sees what was checked.
  for (const pre of document.querySelectorAll(".cell_output .output pre")) {
    if (pre.textContent.startsWith("PASS  ")) pre.closest(".output").classList.add("diffmem-claim");
  }
  // Panels side by side get a box of their own, in which they scroll on a phone instead of shrinking out of legibility.
  for (const image of document.querySelectorAll(".cell_output img")) {
    const box = () => {
      const ratio = image.naturalWidth / image.naturalHeight;
      if (ratio < 2 || ratio > 4) return;
      const around = document.createElement("div");
      around.className = "diffmem-panels";
      image.replaceWith(around);
      around.append(image);
    };
    if (image.complete) box();
    else image.addEventListener("load", box, { once: true });
  }
});
