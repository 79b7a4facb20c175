import sharp from "sharp";

/** Pixels of the grey in which previews show what is not decoded. */
export async function greyCount(picture: Uint8Array): Promise<number> {
  const pixels = await sharp(picture).removeAlpha().raw().toBuffer();
  let count = 0;
  for (let k = 0; k < pixels.length; k += 3) if (pixels.readUIntBE(k, 3) === 0x80_80_80) count += 1;
  return count;
}
