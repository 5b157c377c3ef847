// Mailroom in Azure: `azd up`, or `az deployment sub create`. infra/README.md describes each part and how to change it.
// No secret is a parameter, and nothing signs in with a key: the app uses its identity for storage, vault and telemetry.
// Names are computed here and passed to the modules, so that what-if predicts every resource.

targetScope = 'subscription'

import * as checks from 'checks.bicep'
import {
  consumer
  existingNetwork as network
  mailbox
  principalType as principal
  redundancy
  resourceTags
  route
  secretNames
  tuning as tuningSettings
} from 'types.bicep'
import { leaseContainer, packageContainer } from 'app/storage.bicep'
import { tableNames } from 'mail/data.bicep'

@description('Name of the installation, and part of the resource group\'s name.')
@minLength(1)
@maxLength(64)
param environmentName string

// The regions of Flex Consumption, in the order of their names: az functionapp list-flexconsumption-locations. The last three
// are of national clouds, where Flex Consumption was not confirmed.
@description('Region of all resources.')
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
  'chinanorth3'
  'usgovarizona'
  'usgovvirginia'
])
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('A new resource group for the app; azd down deletes it with everything in it. Empty: named after the environment.')
param resourceGroupName string = ''

@description('Further tags of every resource.')
param tags resourceTags = {}

@description('UserAssigned: a separate identity, which keeps its rights in Exchange when the app is deleted. SystemAssigned: an identity that is deleted with the app.')
@allowed([
  'UserAssigned'
  'SystemAssigned'
])
param identityType string = 'UserAssigned'

@description('Object id of the operator who writes secrets to the vault and runs the command on this storage; azd passes the caller\'s. Empty: no operator.')
param principalId string = ''

param principalType principal = 'User'

@description('The mailboxes, without their secrets: { support: { PROTOCOL: \'imap\', HOST: \'imap.example.com\', ADDRESS: \'support@example.com\' } } is MAILBOXES__support__PROTOCOL and so on.')
param mailboxes { *: mailbox } = {}

@description('The names of the mailboxes\' secrets in the vault: { support: { PASSWORD: \'support-password\' } }.')
param mailboxSecretNames { *: secretNames } = {}

@description('The routes: { sales: { ADDRESS: \'sales@example.com\' } } is ROUTES__sales__ADDRESS.')
param routes { *: route } = {}

@description('The name of the secret in the vault that authenticates Graph notifications. Write the secret to the vault first. Empty: no notifications, only the timer polls.')
param graphKeySecretName string = ''

@description('Other values for POLL_SCHEDULE, POLL_BUDGET and similar settings: { POLL_SCHEDULE: \'0 */5 * * * *\' }.')
param tuning tuningSettings = {}

@description('Memory of an instance in MB. With 512, the worker\'s peak must fit: measure it with your largest messages first (docs/reference/host.md).')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('Largest number of instances.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 100

// Graph requires a response within 3 seconds, and the validation of a new address within 10. A cold start can take longer.
// Graph delays, and finally drops, the notifications to an address that is often late. An always-ready instance responds
// in milliseconds. It costs money all day, and is useless without Graph notifications.
@description('Always-ready instances for HTTP, that is, for Graph. Not set: one if Graph notifications are on, otherwise none.')
@minValue(0)
param alwaysReadyHttp int?

@description('Distribute the app\'s instances and its own storage over the zones of the region.')
param zoneRedundant bool = false

@description('Resource id of an existing storage account for mail. Empty: a new account is created.')
param existingMailStorageId string = ''

@description('Region of the existing account, such as westeurope. Its event topic is created there. Empty: the region of the app.')
param existingMailStorageLocation string = ''

@description('Container of all mail, and prefix of the tables\' names: lower-case letters and digits.')
@minLength(3)
@maxLength(40)
param mailContainer string = 'mail'

@description('Redundancy of the new account for mail. Not set: Standard_ZRS, or Standard_LRS in a region without zones.')
param mailRedundancy redundancy?

@description('Lock the mail\'s account, new or existing, against deletion. The deployment then needs the right to write locks, and azd down fails until the lock is removed.')
param lockMail bool = true

@description('Days for which deleted and overwritten mail can be restored.')
@minValue(1)
@maxValue(365)
param recoverDays int = 7

// These three are off. The comments on their rules in mail/account.bicep describe what each of them breaks.
@description('Days after which messages are moved to the cool tier, where reading costs more; 0: never.')
@minValue(0)
param coolAfterDays int = 0

@description('Days after which messages are moved to the archive tier; 0: never. An archived message must be rehydrated before it can be read or replayed.')
@minValue(0)
param archiveAfterDays int = 0

@description('Days after which messages, results and records are deleted, including unhandled messages; 0: never.')
@minValue(0)
param deleteAfterDays int = 0

@description('Scan new blobs of the new account with Microsoft Defender for Storage, which costs money for each GB.')
param malwareScanning bool = false

@description('Create the Event Grid topic of the mail\'s account. An account can have only one: set false if it already has one.')
param mailEvents bool = empty(existingMailStorageId)

@description('Functions that receive an event for each result: [{ name: \'crm\', functionId: \'…\', route: \'sales\' }]. Deploy them first.')
param consumers consumer[] = []

@description('Make storage and vault reachable only through private endpoints, and use a fixed address for mail servers. Operators must be in the network as well.')
param privateNetwork bool = false

@description('With privateNetwork: a virtual network that exists, to be used instead of a new one. It provides the outbound connection.')
param existingNetwork network?

@description('Recover the deleted vault of an earlier installation of the same name. It fails if there is none.')
param recoverVault bool = false

@description('E-mail addresses that receive alerts.')
param alertEmails string[] = []

@description('Addresses to which alerts are posted, by name: { pager: \'https://…\' }. The deployment history shows them: use addresses without a token.')
param alertWebhooks { *: string } = {}

@description('Messages of a mailbox that may match no route in a day without an alert.')
@minValue(0)
param unhandledMessages int = 10

@description('Let Azure post a validation token to the notification function every 15 minutes, and alert if it does not answer. Not set: if Graph notifications are on.')
param availabilityTest bool?

@description('Budget of the resource group a month, in the currency of the subscription. Warnings go to alertEmails. Not set: no budget.')
@minValue(1)
param monthlyBudget int?

// No default of this month: Azure refuses to change the start of a budget, so that each later month's deployment would fail.
@description('With monthlyBudget: the first day of the month of the first deployment, as in 2026-12-01. Never change it.')
param budgetStart string = ''

@description('Retention of telemetry in days.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Gigabytes of telemetry that are accepted in a day. Above it, telemetry is dropped until the next day. Not set: no limit.')
@minValue(1)
param telemetryDailyCapGb int?

// One spelling of the region, since names are hashes of it.
var region = toLower(replace(location, ' ', ''))
var mailStorageRegion = empty(existingMailStorageLocation)
  ? region
  : toLower(replace(existingMailStorageLocation, ' ', ''))
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
var redundancyOfMail = mailRedundancy ?? (contains(checks.regionsWithoutZones, region) ? 'Standard_LRS' : 'Standard_ZRS')
var ownMailStorage = empty(existingMailStorageId)

// Every resource depends on the result, so that a deployment with an invalid parameter fails before it creates anything.
var errors = concat(
  checks.environment(environmentName, groupName),
  checks.ownerNames('mailboxes', objectKeys(mailboxes)),
  checks.ownerNames('routes', objectKeys(routes)),
  checks.mailboxSettings(mailboxes),
  checks.secrets(mailboxSecretNames, objectKeys(mailboxes), graphKeySecretName),
  checks.mailContainer(mailContainer),
  checks.existingMailStorage(existingMailStorageId, '${subscription().id}/resourceGroups/${groupName}'),
  checks.onlyForNewMailStorage(
    ownMailStorage,
    mailRedundancy,
    coolAfterDays + archiveAfterDays + deleteAfterDays,
    malwareScanning
  ),
  checks.zones(region, ownMailStorage ? redundancyOfMail : 'Standard_LRS', archiveAfterDays, zoneRedundant),
  checks.consumers(consumers, mailEvents),
  checks.budget(monthlyBudget, budgetStart, alertEmails),
  checks.network(privateNetwork, existingNetwork)
)
var checkedGroupName = empty(errors) ? groupName : fail(join(errors, '\n'))

var allTags = union(tags, {
  'azd-env-name': environmentName
})
var token = toLower(uniqueString(subscription().id, environmentName, region))
var prefix = 'mailroom-${token}'
var groupId = '${subscription().id}/resourceGroups/${checkedGroupName}'

// The service's name in azure.yaml.
var serviceName = 'mailroom'
var siteName = 'func-${prefix}'
var identityName = 'id-${prefix}'
var workspaceName = 'log-${prefix}'
var insightsName = 'appi-${prefix}'
var storageName = 'stapp${token}'
var vaultName = 'kv-${token}'

var userAssigned = identityType == 'UserAssigned'
var identityId = '${groupId}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/${identityName}'
var insightsId = '${groupId}/providers/Microsoft.Insights/components/${insightsName}'
var workspaceId = '${groupId}/providers/Microsoft.OperationalInsights/workspaces/${workspaceName}'
var storageId = '${groupId}/providers/Microsoft.Storage/storageAccounts/${storageName}'
var vaultId = '${groupId}/providers/Microsoft.KeyVault/vaults/${vaultName}'

// /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Storage/storageAccounts/NAME
var mailParts = split(existingMailStorageId, '/')
var mailSubscription = ownMailStorage ? subscription().subscriptionId : (mailParts[?2] ?? '')
var mailGroup = ownMailStorage ? checkedGroupName : (mailParts[?4] ?? '')
var mailStorageName = ownMailStorage ? 'stmail${token}' : last(mailParts)
var mailStorageId = ownMailStorage
  ? '${groupId}/providers/Microsoft.Storage/storageAccounts/${mailStorageName}'
  : existingMailStorageId

var roleTargets = {
  appGroup: checkedGroupName
  storageName: storageName
  leaseContainer: leaseContainer
  vaultName: vaultName
  insightsName: insightsName
  mailSubscription: mailSubscription
  mailGroup: mailGroup
  mailStorageName: mailStorageName
  mailContainer: mailContainer
  mailTables: map(tableNames, table => '${mailContainer}${table}')
}

var publicAccess = privateNetwork ? 'Disabled' : 'Enabled'
var ownNetwork = privateNetwork && existingNetwork == null
var networkName = 'vnet-${prefix}'
var ownSubnets = '${groupId}/providers/Microsoft.Network/virtualNetworks/${networkName}/subnets'

// Graph grants 10,080 minutes at most (subscription resource type). The alert is at a quarter; a subscription is renewed at half.
var subscriptionMinutes = min(tuning.?GRAPH_SUBSCRIPTION_MINUTES ?? 10080, 10080)

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: checkedGroupName
  location: region
  tags: allTags
}

module identity 'app/identity.bicep' = if (userAssigned) {
  scope: group
  params: {
    name: identityName
    location: region
    tags: allTags
  }
}

module monitoring 'app/monitoring.bicep' = {
  scope: group
  params: {
    workspaceName: workspaceName
    insightsName: insightsName
    location: region
    tags: allTags
    retentionDays: retentionDays
    dailyCapGb: telemetryDailyCapGb
  }
}

module alerts 'app/alerts.bicep' = {
  scope: group
  params: {
    location: region
    tags: allTags
    workspaceId: workspaceId
    prefix: prefix
    emails: alertEmails
    webhooks: alertWebhooks
    unhandledMessages: unhandledMessages
    subscriptionLeftSeconds: subscriptionMinutes * 15
  }
  dependsOn: [
    monitoring
  ]
}

module workbook 'app/workbook.bicep' = {
  scope: group
  params: {
    location: region
    tags: allTags
    workspaceId: workspaceId
    displayName: 'Mailroom ${environmentName}'
  }
  dependsOn: [
    monitoring
  ]
}

module availability 'app/availability.bicep' = if (availabilityTest ?? !empty(graphKeySecretName)) {
  scope: group
  params: {
    location: region
    tags: allTags
    prefix: prefix
    insightsId: insightsId
    webhookUrl: 'https://${site.outputs.hostName}/api/graph_webhook'
    actionGroupId: empty(alertEmails) && empty(alertWebhooks)
      ? ''
      : '${groupId}/providers/Microsoft.Insights/actionGroups/${prefix}-people'
  }
  dependsOn: [
    alerts
  ]
}

module budget 'app/budget.bicep' = if (monthlyBudget != null) {
  scope: group
  params: {
    name: 'budget-${prefix}'
    amount: monthlyBudget!
    startDate: budgetStart
    emails: alertEmails
  }
}

module storage 'app/storage.bicep' = {
  scope: group
  params: {
    name: storageName
    location: region
    tags: allTags
    zoneRedundant: zoneRedundant
    publicAccess: publicAccess
    workspaceId: workspaceId
  }
  dependsOn: [
    monitoring
  ]
}

module vault 'app/vault.bicep' = {
  scope: group
  params: {
    name: vaultName
    location: region
    tags: allTags
    workspaceId: workspaceId
    publicAccess: publicAccess
    recover: recoverVault
  }
  dependsOn: [
    monitoring
  ]
}

module mailStorage 'mail/account.bicep' = if (ownMailStorage) {
  scope: group
  params: {
    name: mailStorageName
    location: region
    tags: allTags
    container: mailContainer
    redundancy: redundancyOfMail
    publicAccess: publicAccess
    workspaceId: workspaceId
    recoverDays: recoverDays
    coolAfterDays: coolAfterDays
    archiveAfterDays: archiveAfterDays
    deleteAfterDays: deleteAfterDays
  }
  dependsOn: [
    monitoring
  ]
}

module mailData 'mail/data.bicep' = {
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    accountName: mailStorageName
    container: mailContainer
    lock: lockMail
  }
  dependsOn: [
    group
    mailStorage
  ]
}

module events 'mail/events.bicep' = if (mailEvents) {
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    accountName: mailStorageName
    topicName: 'evgt-${prefix}'
    location: mailStorageRegion
    tags: allTags
    container: mailContainer
    consumers: consumers
  }
  dependsOn: [
    mailData
  ]
}

// After the topic: Defender creates one where there is none, and an account can have only one.
module scanning 'mail/scanning.bicep' = if (malwareScanning) {
  scope: group
  params: {
    accountName: mailStorageName
  }
  dependsOn: [
    mailData
    events
  ]
}

module newNetwork 'app/network.bicep' = if (ownNetwork) {
  scope: group
  params: {
    name: networkName
    location: region
    tags: allTags
  }
}

module endpoints 'app/endpoints.bicep' = if (privateNetwork) {
  scope: group
  params: {
    location: region
    tags: allTags
    prefix: 'pep-${prefix}'
    subnetId: existingNetwork.?endpointSubnetId ?? '${ownSubnets}/endpoints'
    dnsZoneIds: ownNetwork ? newNetwork!.outputs.dnsZoneIds : existingNetwork.?dnsZoneIds
    writeRecords: ownNetwork || existingNetwork.?dnsZoneIds != null
    targets: [
      {
        name: 'app-blob'
        resourceId: storageId
        group: 'blob'
      }
      {
        name: 'app-queue'
        resourceId: storageId
        group: 'queue'
      }
      {
        name: 'app-table'
        resourceId: storageId
        group: 'table'
      }
      {
        name: 'mail-blob'
        resourceId: mailStorageId
        group: 'blob'
      }
      {
        name: 'mail-table'
        resourceId: mailStorageId
        group: 'table'
      }
      {
        name: 'vault'
        resourceId: vaultId
        group: 'vault'
      }
    ]
  }
  dependsOn: [
    storage
    vault
    mailData
  ]
}

// Roles before the site: otherwise the code is often deployed before the role on its container is effective (403,
// InaccessibleStorageException). A system-assigned identity exists only with the site: for it, repeat `azd deploy`.
module rolesBeforeSite 'roles.bicep' = if (userAssigned) {
  params: {
    // The names of role assignments contain the principal, which only Azure knows.
    #disable-next-line what-if-short-circuiting
    appPrincipalId: identity!.outputs.principalId
    operatorPrincipalId: principalId
    operatorPrincipalType: principalType
    targets: roleTargets
  }
  dependsOn: [
    monitoring
    storage
    vault
    mailData
  ]
}

module rolesAfterSite 'roles.bicep' = if (!userAssigned) {
  params: {
    // As above.
    #disable-next-line what-if-short-circuiting
    appPrincipalId: site.outputs.principalId
    operatorPrincipalId: principalId
    operatorPrincipalType: principalType
    targets: roleTargets
  }
  dependsOn: [
    monitoring
    storage
    vault
    mailData
  ]
}

module site 'app/site.bicep' = {
  scope: group
  params: {
    name: siteName
    planName: 'plan-${prefix}'
    location: region
    tags: allTags
    serviceName: serviceName
    identityId: userAssigned ? identityId : ''
    packageUrl: 'https://${storageName}.blob.${environment().suffixes.storage}/${packageContainer}'
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyHttp: alwaysReadyHttp ?? (empty(graphKeySecretName) ? 0 : 1)
    zoneRedundant: zoneRedundant
    subnetId: privateNetwork ? (existingNetwork.?appSubnetId ?? '${ownSubnets}/app') : ''
  }
  dependsOn: [
    storage
    newNetwork
    endpoints
    rolesBeforeSite
  ]
}

module settings 'app/settings.bicep' = {
  scope: group
  params: {
    siteName: siteName
    hostName: site.outputs.hostName
    storageName: storageName
    mailStorageUrl: 'https://${mailStorageName}.blob.${environment().suffixes.storage}'
    mailContainer: mailContainer
    insightsConnectionString: monitoring.outputs.connectionString
    identityClientId: userAssigned ? identity!.outputs.clientId : ''
    vaultUri: 'https://${vaultName}${environment().suffixes.keyvaultDns}/'
    mailboxes: mailboxes
    mailboxSecretNames: mailboxSecretNames
    routes: routes
    graphKeySecretName: graphKeySecretName
    tuning: tuning
  }
  // Roles first: references to the vault are resolved when the settings are written.
  dependsOn: [
    rolesBeforeSite
    rolesAfterSite
  ]
}

output AZURE_LOCATION string = region
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_KEY_VAULT_NAME string = vaultName

@description('NAME in func azure functionapp publish NAME.')
output AZURE_FUNCTION_APP_NAME string = siteName

@description('Values for the operator\'s local.settings.json: MAIL_STORAGE, AzureWebJobsStorage__accountName and telemetry.')
output MAIL_STORAGE string = 'https://${mailStorageName}.blob.${environment().suffixes.storage}'
output APP_STORAGE_ACCOUNT string = storageName
output APPLICATIONINSIGHTS_CONNECTION_STRING string = monitoring.outputs.connectionString
output GRAPH_WEBHOOK_URL string = 'https://${site.outputs.hostName}/api/graph_webhook'

@description('Object id that needs rights in Exchange (docs/how-to/office365.md) if a mailbox signs in by managed-identity.')
output IDENTITY_PRINCIPAL_ID string = userAssigned ? identity!.outputs.principalId : site.outputs.principalId
output IDENTITY_CLIENT_ID string = userAssigned ? identity!.outputs.clientId : ''

@description('The topic of result events; empty if none was created.')
output RESULTS_TOPIC string = mailEvents ? 'evgt-${prefix}' : ''

@description('The address from which mail servers see connections of the app; empty: any address of Azure, or that of existingNetwork.')
output OUTBOUND_ADDRESS string = ownNetwork ? newNetwork!.outputs.outboundAddress : ''
