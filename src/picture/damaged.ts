/** What is wrong with the bytes of a picture; whoever knows its name makes a `ZiparError` of it. */
export class DamagedPicture extends Error {}
