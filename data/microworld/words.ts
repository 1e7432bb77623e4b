/**
 * Words of the micro-world. Each is one token of the embedded pair's tokenizer when a space precedes it.
 *
 * @module
 */

const words = (text: string): readonly string[] => text.split(" ");

/** People, in alphabetical order. */
export const PEOPLE: readonly string[] = words(
  "Ann Bob Cat Dan Eve Fay Gus Hal Ida Jim Kim Lee Max Ned Ora Pam Quin Ray Sue Tom Uma Vic Wes Zoe",
);

/** Things that people have. */
export const OBJECTS: readonly string[] = words(
  "lamp cup key map hat bell book rope coin drum ring kite sock boot comb fork bowl vase harp flag " +
    "mask nail pear plum fig nut leaf rock shell stick wheel clock",
);

/** Towns that people live in and travel through. */
export const TOWNS: readonly string[] = words(
  "Elm Oak Ash Fir Ivy Yew Bay Fen Glen Holt Moor Dale Ford Wick Pine Rose Fern Reed Sand Salt " +
    "Cliff Crag Marsh Heath",
);

/** Places of stories. */
export const PLACES: readonly string[] = words(
  "garden kitchen barn attic cellar mill dock tower bridge cave market school farm lake hill wood " +
    "inn shop hall gate well yard roof camp",
);

/** Animals, in alphabetical order. */
export const ANIMALS: readonly string[] = words(
  "ant bat bee cow crab crow deer dog duck eel elk fox frog goat hawk hen ibis jay koi lark lion mole " +
    "moth mule newt otter owl panda quail rat seal slug swan toad viper wasp wolf worm yak zebra",
);

/** Colors of filler sentences. */
export const COLORS: readonly string[] = words("red blue green black white brown pink gray");

/** Sentences without facts about people. */
export const FILLERS: readonly string[] = [
  "The wind was cold",
  "It rained all day",
  "The sun was warm",
  "Snow fell in the night",
  "The moon was full",
  "A door was open",
  "The road was long",
  "Nobody spoke",
  "The fire was low",
  "The tea was hot",
  "It was late",
  "It was quiet",
  "The sky was clear",
  "Bread was on the table",
  "Then it was morning",
];
