/** What set-up is about to fetch, in words. Sizes were measured with the locked versions (torch 2.13). */
export function describeSize(
  platform: NodeJS.Platform,
  architecture: string,
  torchBackend: string | null,
): string {
  if (torchBackend !== null)
    return (
      `installing PyTorch for UV_TORCH_BACKEND=${torchBackend} and the worker's other packages ` +
      "(with CUDA up to 3 GB to download and 5 GB on disk, without about 0.2 GB and 1 GB; what uv has cached is not fetched again)"
    );
  if (platform === "linux")
    return (
      `installing PyTorch with CUDA 13 for ${architecture} and the worker's other packages: 2.8 GB to download and 4.7 GB ` +
      "on disk, less where uv has them cached (UV_TORCH_BACKEND=cpu picks a build without CUDA, a tenth of that)"
    );
  return (
    "installing PyTorch and the worker's other packages: 0.2 GB to download and 0.6 GB on disk, " +
    "less where uv has them cached"
  );
}
