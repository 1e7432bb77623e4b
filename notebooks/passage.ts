/**
 * A passage of plain English for looking at real models without a dataset.
 *
 * @module
 */

/** About 250 tokens of prose that returns to its names and things, so that attention has somewhere to go. */
export const PASSAGE: string =
  `The ferry to the island leaves twice a day, in the morning at seven and in the evening at six. ` +
  `Martha, who runs the bakery on the quay, sends her bread with the first one, and Oskar, the ` +
  `schoolteacher, usually carries the basket up the hill because his house stands beside the shop. ` +
  `Last winter the engine failed half way across. The captain lowered the anchor, lit the lamp on ` +
  `the mast and waited, while the passengers shared what was in the basket. It was the doctor who ` +
  `noticed that the tide would turn before midnight and carry them back towards the harbour, and she ` +
  `was right: at eleven the anchor was raised, the current took hold of the boat, and an hour later ` +
  `they stood on the quay again, cold and rather cheerful. Since that night the captain has kept a ` +
  `second engine under the deck, Martha has baked two loaves more than were ordered, and Oskar has told ` +
  `every new pupil the same three things: the first is when the ferry leaves, the second is where ` +
  `the lamp hangs, and the third is what the doctor knew about the tide. Asked what he himself did ` +
  `that night, he says that he carried the basket. The first thing that every pupil of Oskar learns ` +
  `is therefore`;
