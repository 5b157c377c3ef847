// Checks of parameters that types cannot express. Azure would refuse these values too, but late, after a part of the
// resources exists, and often without the parameter's name. Each function returns messages; none: the value is valid.
// The names `mailboxes` and `routes` follow shared/config/env_keys.py.

import { consumer, existingNetwork, mailbox, redundancy, secretNames } from 'types.bicep'

var lowerCase = 'abcdefghijklmnopqrstuvwxyz'
var digits = '0123456789'

@export()
@description('Regions with Flex Consumption and without availability zones (learn.microsoft.com/azure/storage/common/redundancy-regions-zrs).')
var regionsWithoutZones = [
  'australiasoutheast'
  'northcentralus'
  'southindia'
  'ukwest'
  'westcentralus'
  'westus'
]

@description('Whether a text, in any case, consists of these characters.')
func consistsOf(text string, characters string) bool =>
  empty(filter(range(0, length(text)), i => !contains(characters, toLower(substring(text, i, 1)))))

@description('Whether a text begins with one of these characters.')
func beginsWith(text string, characters string) bool => !empty(text) && contains(characters, toLower(take(text, 1)))

func isOwnerName(name string) bool =>
  consistsOf(name, '${lowerCase}${digits}_') && beginsWith(name, lowerCase) && length(name) <= 40 && !contains(
    '${name}_',
    '__'
  )

func isAfter(value string) bool => contains(['delete', 'trash', 'keep'], value) || startsWith(value, 'move:')

func isSecretName(name string) bool => consistsOf(name, '${lowerCase}${digits}-') && !empty(name) && length(name) <= 127

func isSubscriptionName(name string) bool =>
  consistsOf(name, '${lowerCase}${digits}-') && length(name) >= 3 && length(name) <= 64

@description('A segment of a resource id, in lower case; empty if there is none.')
func segment(id string, index int) string => toLower(split(id, '/')[?index] ?? '')

@description('Whether a resource id has this form: a path in lower case, in which * is any name.')
func isResourceId(id string, form string) bool =>
  length(split(id, '/')) == length(split(form, '/')) && empty(filter(
    range(0, length(split(form, '/'))),
    i => segment(form, i) == '*' ? empty(segment(id, i)) : segment(id, i) != segment(form, i)
  ))

@description('Whether a text is the first day of a month, as in 2026-12-01.')
func isMonth(text string) bool =>
  length(text) == 10 && endsWith(text, '-01') && substring(text, 4, 1) == '-' && consistsOf(
    replace(text, '-', ''),
    digits
  )

func messageIf(isWrong bool, message string) string[] => isWrong ? [message] : []

func differInCaseOnly(names string[]) string[] =>
  filter(names, name => length(filter(names, other => toLower(other) == toLower(name))) > 1)

@export()
@description('Mailboxes and routes: their names become part of app settings\' names.')
func ownerNames(parameter string, names string[]) string[] =>
  concat(
    map(
      filter(names, name => !isOwnerName(name)),
      name =>
        '${parameter}: \'${name}\' is not a valid name; use letters, digits and single underscores, a letter first, 40 characters at most'
    ),
    map(
      differInCaseOnly(names),
      name => '${parameter}: \'${name}\' differs from another name by case alone; use other names'
    )
  )

@export()
@description('Mailboxes, beyond their type.')
func mailboxSettings(mailboxes { *: mailbox }) string[] =>
  concat(
    map(
      filter(
        items(mailboxes),
        box => box.value.PROTOCOL !~ 'graph' && empty(box.value.?HOST) && box.value.?PRESET == null
      ),
      box => 'mailboxes.${box.key}: names no server; set HOST or PRESET'
    ),
    map(
      filter(items(mailboxes), box => !isAfter(box.value.?AFTER ?? 'delete')),
      box => 'mailboxes.${box.key}.AFTER: \'${box.value.?AFTER}\' is not known; use delete, trash, keep or move:FOLDER'
    )
  )

@export()
@description('The names of secrets (learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates), and of the mailboxes that use them.')
func secrets(mailboxSecretNames { *: secretNames }, mailboxNames string[], graphKeySecretName string) string[] =>
  concat(
    map(
      filter(objectKeys(mailboxSecretNames), name => !contains(mailboxNames, name)),
      name => 'mailboxSecretNames: \'${name}\' is not a name in mailboxes; write it as it is written there'
    ),
    flatten(map(
      items(mailboxSecretNames),
      box =>
        map(
          filter(items(box.value), setting => setting.?value != null && !isSecretName(setting.?value ?? '')),
          setting =>
            'mailboxSecretNames.${box.key}.${setting.key}: is not the name of a secret; use 1 to 127 letters, digits and hyphens'
        )
    )),
    messageIf(
      !empty(graphKeySecretName) && !isSecretName(graphKeySecretName),
      'graphKeySecretName: is not the name of a secret; use 1 to 127 letters, digits and hyphens'
    )
  )

@export()
@description('Consumers: Event Grid accepts 3 to 64 letters, digits and hyphens as the name of a subscription.')
func consumers(entries consumer[], mailEvents bool) string[] =>
  concat(
    messageIf(
      !empty(entries) && !mailEvents,
      'consumers: get no events, since mailEvents is false (the default with existingMailStorageId); set mailEvents to true, or subscribe to the account\'s own topic and remove consumers'
    ),
    map(
      filter(entries, entry => !isSubscriptionName(entry.name)),
      entry => 'consumers: \'${entry.name}\' is not a valid name; use 3 to 64 letters, digits and hyphens'
    ),
    map(
      differInCaseOnly(map(entries, entry => entry.name)),
      name => 'consumers: \'${name}\' is used twice; use another name'
    ),
    map(
      filter(
        entries,
        entry =>
          !isResourceId(
            entry.functionId,
            '/subscriptions/*/resourcegroups/*/providers/microsoft.web/sites/*/functions/*'
          )
      ),
      entry =>
        'consumers: the functionId of \'${entry.name}\' is not the resource id of a function; write /subscriptions/…/providers/Microsoft.Web/sites/APP/functions/FUNCTION'
    ),
    map(
      filter(entries, entry => entry.?route != null && !isOwnerName(entry.?route ?? '')),
      entry => 'consumers: the route of \'${entry.name}\' is not a valid name of a route'
    )
  )

@export()
@description('The environment and the resource group.')
func environment(environmentName string, groupName string) string[] =>
  concat(
    messageIf(
      !consistsOf(environmentName, '${lowerCase}${digits}-_.()'),
      'environmentName: has characters that a resource group\'s name cannot have; use letters, digits, - _ . ( )'
    ),
    messageIf(
      !consistsOf(groupName, '${lowerCase}${digits}-_.()') || endsWith(groupName, '.') || length(groupName) > 90,
      'resourceGroupName (by default rg- and environmentName): \'${groupName}\' is not a valid name; use up to 90 letters, digits, - _ . ( ) without a full stop at the end'
    )
  )

@export()
@description('The existing storage account. Its group must be another one: azd down removes the group of the app.')
func existingMailStorage(id string, groupId string) string[] =>
  empty(id)
    ? []
    : !isResourceId(id, '/subscriptions/*/resourcegroups/*/providers/microsoft.storage/storageaccounts/*')
        ? [
            'existingMailStorageId: is not the resource id of a storage account; write /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/NAME without a slash at its end'
          ]
        : messageIf(
            startsWith(toLower(id), '${toLower(groupId)}/'),
            'resourceGroupName: is the group of existingMailStorageId, which azd down would remove with the mail; use a new group for the app'
          )

@export()
@description('The container. Tables have it as prefix, and a table\'s name has neither a hyphen nor a digit first.')
func mailContainer(name string) string[] =>
  messageIf(
    name != toLower(name) || !consistsOf(name, '${lowerCase}${digits}') || !beginsWith(name, lowerCase),
    'mailContainer: \'${name}\' is not a valid name; use lower-case letters and digits, a letter first'
  )

@export()
@description('Redundancy, zones and tiers.')
func zones(region string, mailRedundancy redundancy, archiveAfterDays int, zoneRedundant bool) string[] =>
  concat(
    messageIf(
      contains(mailRedundancy, 'ZRS') && contains(regionsWithoutZones, region),
      'mailRedundancy: ${mailRedundancy} needs zones, and ${region} has none; use Standard_LRS, Standard_GRS or Standard_RAGRS'
    ),
    messageIf(
      contains(mailRedundancy, 'ZRS') && archiveAfterDays > 0,
      'archiveAfterDays: the archive tier does not exist with ${mailRedundancy}; set mailRedundancy to Standard_LRS, Standard_GRS or Standard_RAGRS'
    ),
    messageIf(
      zoneRedundant && contains(regionsWithoutZones, region),
      'zoneRedundant: ${region} has no zones; remove it, or use another region'
    )
  )

@export()
@description('Parameters that change a new account only.')
func onlyForNewMailStorage(isNew bool, mailRedundancy redundancy?, days int, malwareScanning bool) string[] =>
  concat(
    messageIf(
      !isNew && mailRedundancy != null,
      'mailRedundancy: has no effect on the account of existingMailStorageId; remove it'
    ),
    messageIf(
      !isNew && days > 0,
      'coolAfterDays, archiveAfterDays, deleteAfterDays: have no effect on the account of existingMailStorageId; set them to 0, and write lifecycle rules there'
    ),
    messageIf(
      !isNew && malwareScanning,
      'malwareScanning: has no effect on the account of existingMailStorageId; set it to false, and turn scanning on there'
    )
  )

@export()
@description('The budget.')
func budget(monthlyBudget int?, budgetStart string, alertEmails string[]) string[] =>
  concat(
    messageIf(
      monthlyBudget != null && empty(alertEmails),
      'monthlyBudget: its warnings go to alertEmails, which is empty; add an address'
    ),
    messageIf(
      monthlyBudget != null && !isMonth(budgetStart),
      'budgetStart: \'${budgetStart}\' is not the first day of a month; write the current month as in 2026-12-01, and never change it'
    )
  )

@export()
@description('The existing network.')
func network(privateNetwork bool, existing existingNetwork?) string[] =>
  concat(
    messageIf(
      existing != null && !privateNetwork,
      'existingNetwork: is used only with privateNetwork; set that to true'
    ),
    existing == null
      ? []
      : map(
          filter(
            ['appSubnetId', 'endpointSubnetId'],
            name =>
              !isResourceId(
                existing![name],
                '/subscriptions/*/resourcegroups/*/providers/microsoft.network/virtualnetworks/*/subnets/*'
              )
          ),
          name =>
            'existingNetwork.${name}: is not the resource id of a subnet; write /subscriptions/…/virtualNetworks/NETWORK/subnets/SUBNET'
        )
  )
